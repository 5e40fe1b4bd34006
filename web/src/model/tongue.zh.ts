import { alertTitleZh } from './alert-title.zh';
import { readerOf } from './said';
import { PROBLEMS_ZH, SAID_ZH } from './said.zh';
import type { Tongue } from './strings';
import { zh } from './strings.zh';

const said = readerOf(SAID_ZH, (state) => (zh as Readonly<Record<string, string>>)[`state.${state}`] ?? state);

/** Chinese. */
export const ZH: Tongue = { words: zh, said, alertTitle: (alert) => alertTitleZh(alert, said), problem: (code) => PROBLEMS_ZH[code] ?? null };
