import type { ChartPage } from './charts.svelte';
import { hover } from './hover.svelte';
import type { Keys } from './keys.svelte';

/** Keys that any page of charts understands. */
export function chartKeys(page: ChartPage): Keys {
  return {
    chart: (by) => {
      const keys = page.specs.map((spec) => spec.key);
      if (!keys.length) return;
      const at = page.current === null ? -1 : keys.indexOf(page.current);
      page.current = keys[(at + by + keys.length) % keys.length] ?? null;
      if (page.view.full !== null) page.update({ full: page.current });
      const cell = document.querySelector<HTMLElement>(`[data-chart="${CSS.escape(page.current ?? '')}"]`);
      cell?.scrollIntoView({ block: 'nearest' });
      cell?.focus({ preventScroll: true });
    },
    full: () => {
      const pointed = document.querySelector<HTMLElement>('.cell:hover')?.dataset.chart;
      const key = (hover.owner !== null ? pointed : undefined) ?? page.current ?? page.specs[0]?.key ?? null;
      page.update({ full: page.view.full === null ? key : null });
    },
    log: () => page.update({ log: !page.view.log }),
    smooth: () => page.update({ smooth: page.view.smooth >= 0.9 ? 0 : Number((page.view.smooth + 0.3).toFixed(2)) }),
  };
}
