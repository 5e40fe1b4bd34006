BEGIN TRANSACTION;
CREATE TABLE attempt (
	run_no INTEGER NOT NULL,
	attempt INTEGER NOT NULL,
	started_ms BIGINT NOT NULL,
	ended_ms BIGINT,
	state TEXT NOT NULL,
	reason TEXT NOT NULL,
	first_step FLOAT,
	last_step FLOAT,
	step_base BIGINT NOT NULL,
	from_step FLOAT,
	host TEXT NOT NULL,
	PRIMARY KEY (run_no, attempt)
);
CREATE TABLE audit (
	no INTEGER NOT NULL,
	at_ms BIGINT NOT NULL,
	actor TEXT NOT NULL,
	action TEXT NOT NULL,
	object TEXT NOT NULL,
	body_json TEXT NOT NULL,
	PRIMARY KEY (no)
);
CREATE TABLE console (
	run_no INTEGER NOT NULL,
	rank INTEGER NOT NULL,
	n BIGINT NOT NULL,
	stream TEXT NOT NULL,
	time_ms BIGINT NOT NULL,
	text TEXT NOT NULL,
	PRIMARY KEY (run_no, rank, n)
);
CREATE TABLE detail (
	run_no INTEGER NOT NULL,
	config_json TEXT NOT NULL,
	given_json TEXT NOT NULL,
	definitions_json TEXT NOT NULL,
	capture_json TEXT NOT NULL,
	argv_json TEXT NOT NULL,
	python TEXT NOT NULL,
	traceback TEXT,
	PRIMARY KEY (run_no)
);
CREATE TABLE event (
	writer_no INTEGER NOT NULL,
	number BIGINT NOT NULL,
	run_no INTEGER NOT NULL,
	step FLOAT,
	time_ms BIGINT NOT NULL,
	body_json TEXT NOT NULL,
	PRIMARY KEY (writer_no, number)
);
CREATE TABLE file (
	run_no INTEGER NOT NULL,
	path TEXT NOT NULL,
	writer_no INTEGER NOT NULL,
	spool TEXT NOT NULL,
	size BIGINT NOT NULL,
	mtime_ms BIGINT NOT NULL,
	media_type TEXT,
	PRIMARY KEY (run_no, path)
);
CREATE TABLE gap (
	writer_no INTEGER NOT NULL,
	first BIGINT NOT NULL,
	run_no INTEGER NOT NULL,
	count BIGINT NOT NULL,
	reason TEXT NOT NULL,
	at_ms BIGINT NOT NULL,
	PRIMARY KEY (writer_no, first)
);
CREATE TABLE key_value (
	"key" TEXT NOT NULL,
	value_json TEXT NOT NULL,
	PRIMARY KEY ("key")
);
CREATE TABLE layout (
	no INTEGER NOT NULL,
	digest TEXT NOT NULL,
	names_json TEXT NOT NULL,
	PRIMARY KEY (no),
	UNIQUE (digest)
);
CREATE TABLE media (
	no INTEGER NOT NULL,
	run_no INTEGER NOT NULL,
	name TEXT NOT NULL,
	type TEXT NOT NULL,
	step FLOAT,
	time_ms BIGINT NOT NULL,
	rank INTEGER NOT NULL,
	attempt INTEGER NOT NULL,
	writer_no INTEGER NOT NULL,
	spool TEXT,
	body_json TEXT NOT NULL,
	PRIMARY KEY (no)
);
CREATE TABLE project (
	name TEXT NOT NULL,
	created_ms BIGINT NOT NULL,
	runs_made INTEGER NOT NULL,
	main_metric TEXT,
	PRIMARY KEY (name)
);
CREATE TABLE run (
	no INTEGER NOT NULL,
	id TEXT NOT NULL,
	short TEXT NOT NULL,
	project TEXT NOT NULL,
	number INTEGER NOT NULL,
	name TEXT NOT NULL,
	state TEXT NOT NULL,
	reason TEXT NOT NULL,
	ends_as TEXT,
	ends_reason TEXT NOT NULL,
	created_ms BIGINT NOT NULL,
	modified_ms BIGINT NOT NULL,
	started_ms BIGINT NOT NULL,
	ended_ms BIGINT,
	contact_ms BIGINT NOT NULL,
	owner TEXT NOT NULL,
	creator TEXT NOT NULL,
	host TEXT NOT NULL,
	attempt INTEGER NOT NULL,
	group_name TEXT,
	job_type TEXT,
	parent TEXT,
	tags_json TEXT NOT NULL,
	notes TEXT NOT NULL,
	archived BOOLEAN NOT NULL,
	deleted_ms BIGINT,
	purged BOOLEAN NOT NULL,
	step FLOAT,
	total_steps FLOAT,
	progress_json TEXT,
	points BIGINT NOT NULL,
	bytes BIGINT NOT NULL,
	world_size INTEGER NOT NULL,
	first_metric TEXT,
	main_metric TEXT,
	main_last TEXT,
	role TEXT NOT NULL,
	PRIMARY KEY (no),
	UNIQUE (id)
);
CREATE TABLE schema_version (
	version INTEGER NOT NULL,
	at_ms BIGINT NOT NULL,
	PRIMARY KEY (version)
);
CREATE TABLE spool (
	writer_no INTEGER NOT NULL,
	name TEXT NOT NULL,
	run_no INTEGER NOT NULL,
	wanted BOOLEAN NOT NULL,
	sha256 TEXT,
	size BIGINT,
	media_type TEXT,
	PRIMARY KEY (writer_no, name)
);
CREATE TABLE summary (
	run_no INTEGER NOT NULL,
	layout INTEGER NOT NULL,
	body BLOB NOT NULL,
	PRIMARY KEY (run_no)
);
CREATE TABLE writer (
	no INTEGER NOT NULL,
	id TEXT NOT NULL,
	run_no INTEGER NOT NULL,
	run TEXT NOT NULL,
	rank INTEGER NOT NULL,
	attempt INTEGER NOT NULL,
	role TEXT NOT NULL,
	rendezvous TEXT,
	host TEXT NOT NULL,
	machine TEXT NOT NULL,
	agent TEXT,
	wall_us BIGINT NOT NULL,
	step_base BIGINT NOT NULL,
	started_ms BIGINT NOT NULL,
	ended_ms BIGINT,
	ending TEXT,
	last_ms BIGINT NOT NULL,
	applied BIGINT NOT NULL,
	console_base BIGINT,
	console_next BIGINT NOT NULL,
	meter_json TEXT,
	cause_json TEXT,
	records_behind BIGINT NOT NULL,
	bytes_behind BIGINT NOT NULL,
	set_aside BIGINT NOT NULL,
	PRIMARY KEY (no),
	UNIQUE (id)
);
CREATE INDEX run_by_state ON run (state);
CREATE INDEX run_of_project ON run (project, number);
CREATE INDEX run_by_short ON run (short);
CREATE INDEX writer_of_run ON writer (run_no, rank, attempt);
CREATE INDEX writer_by_rendezvous ON writer (rendezvous);
CREATE INDEX media_of_run ON media (run_no, name, step);
CREATE INDEX spool_of_run ON spool (run_no);
CREATE INDEX spool_by_hash ON spool (sha256);
CREATE INDEX gap_of_run ON gap (run_no);
CREATE INDEX event_of_run ON event (run_no);
INSERT INTO schema_version VALUES (1, 1);
COMMIT;
