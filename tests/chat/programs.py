"""Training scripts for the tests of chats: small, steerable, with a loss that does as told."""

STEERED = """
    import farwatch, sys, time
    run = farwatch.init("digits", id=sys.argv[1], name=sys.argv[1], config={"lr": 0.05}, total_steps=2000, console=True, system=False)
    lr = run.knob("lr", 0.05, min=1e-6, max=1.0, log=True)
    wd = run.knob("wd", 0.01)

    @run.on("checkpoint")
    def save():
        return "ckpt.pt"

    @run.command
    def evaluate(n: int = 100):
        return {"accuracy": 0.93, "n": n}

    for step in range(2000):
        print("step", step, flush=True)
        run.log({"train/loss": 1.0 / (1 + step) + 0.1, "train/acc": 0.5, "lr": lr.value}, step=step)
        time.sleep(0.03)
    run.finish()
"""

SPIKES = """
    import farwatch, sys, time, os
    run = farwatch.init("digits", id=sys.argv[1], name="calm-heron", console=False, system=False, total_steps=3000)
    lr = run.knob("lr", 0.3, min=1e-6, max=1.0, log=True)

    @run.on("checkpoint")
    def save():
        return "ckpt.pt"

    def loss(step):
        return 1.0 / (1 + step / 50) + 0.001 * (step % 7)

    for step in range(400):
        run.log({"train/loss": loss(step), "grad/norm": 1.0 + 0.01 * (step % 5)}, step=step)
    mended = False
    for step in range(400, 3000):
        bad = not (mended or lr.value < 0.2)
        mended = mended or not bad
        run.log({"train/loss": float("nan") if bad else loss(step), "grad/norm": 50.0 if bad else 1.0}, step=step)
        time.sleep(0.03)
    run.finish()
"""

COUNTS = """
    import farwatch, sys
    steps, ending = int(sys.argv[2]), sys.argv[3]
    group = sys.argv[4] if len(sys.argv) > 4 else None
    run = farwatch.init("digits", id=sys.argv[1], name=sys.argv[1], group=group, console=False, system=False)
    for step in range(steps):
        run.log({"loss": 1.0 / (1 + step), "accuracy": step / steps}, step=step)
    if ending == "raise":
        raise ValueError("bad input 17")
    run.summary["test_accuracy"] = 0.973
    run.finish()
"""

LISTENS = """
    import farwatch, time

    def train(run, lr: farwatch.Knob = 0.1, epochs: int = 3):
        for step in range(100_000):
            run.log({"loss": 1.0 / (1 + step), "used_lr": lr.value}, step=step)
            time.sleep(0.02)

    farwatch.listen(train, project="digits", name="trainer", console=False, system=False)
"""

FLAT = """
    import farwatch, random, sys, time
    run = farwatch.init("digits", id=sys.argv[1], name="tall-fox", console=False, system=False)
    for step in range(2500):
        run.log({"loss": max(0.2, 1.0 - step / 250) + 1e-4 * random.random()}, step=step)
        time.sleep(0.01)
    run.finish()
"""
