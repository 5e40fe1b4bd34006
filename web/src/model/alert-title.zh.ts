import type { AlertRow } from '../api/types';
import { formatDuration, formatNumber, toNumber } from './numbers';

export type TitledAlert = Pick<AlertRow, 'rule' | 'title' | 'metric' | 'run' | 'step' | 'value' | 'band' | 'time_ms' | 'fired_ms' | 'opened_ms'>;

const UNITS = ['秒', '分钟', '小时', '天'] as const;
const GIB = 2 ** 30;
const num = (value: AlertRow['value'] | undefined): string => formatNumber(toNumber(value));
const at = (alert: TitledAlert): string => (alert.step === null ? '' : `第 ${num(alert.step)} 步`);
const each = (seconds: number): string => (seconds >= 1 ? `${formatNumber(seconds)} 秒` : `${formatNumber(seconds * 1000)} 毫秒`);

/** The title of an alert in Chinese, of its rule and its facts; null where a program has given it. `said`: of a reason. */
export function alertTitleZh(alert: TitledAlert, said: (text: string) => string): string | null {
  const { metric, value, band } = alert;
  const reason = (): string => (alert.title.includes(': ') ? `：${said(alert.title.slice(alert.title.indexOf(': ') + 2))}` : '');
  switch (alert.rule) {
    case 'nan': {
      const what = value === 'Infinity' ? '无穷大' : value === '-Infinity' ? '负无穷大' : 'NaN';
      return `${metric} 从${at(alert)}起为 ${what}`;
    }
    case 'spike':
      return band ? `${metric} 在${at(alert)}从 ${num(band.usual)} 升到 ${num(value)}` : null;
    case 'overfitting':
      return band ? `${metric} 已从${at(alert)}的 ${num(band.usual)} 升到 ${num(value)}` : null;
    case 'plateau':
      return `${metric} 从${at(alert)}起停在 ${num(value)}`;
    case 'slow_step': {
      const [now, usual] = [toNumber(value), toNumber(band?.usual)];
      return `每步耗时是平常的 ${formatNumber(now / usual, 2)} 倍：${each(now)}，平常 ${each(usual)}`;
    }
    case 'idle_gpu': {
      const gpu = metric?.split('/')[2] ?? '';
      const for_ms = alert.time_ms === null ? null : (alert.fired_ms ?? alert.opened_ms) - alert.time_ms;
      return `GPU ${gpu} 已空闲${for_ms === null ? '' : ` ${formatDuration(for_ms, UNITS)}`}`;
    }
    case 'disk_full':
      return alert.run === null ? `服务器磁盘剩余 ${formatNumber(toNumber(value), 2)} %` : `机器磁盘剩余 ${formatNumber(toNumber(value) / GIB, 3)} GiB`;
    case 'failed':
      return `失败${reason()}`;
    case 'out_of_memory':
      return '内存不足';
    case 'lost':
      return `失联${reason()}`;
    case 'stalled':
      return `停滞${reason()}`;
    default:
      return null;
  }
}
