/** Parts of the page that the first load does without; each is fetched once. */
export const PARTS = {
  samples: () => import('../views/Samples.svelte'),
  console: () => import('../views/Console.svelte'),
  system: () => import('../views/System.svelte'),
  config: () => import('../views/Config.svelte'),
  files: () => import('../views/Files.svelte'),
  history: () => import('../views/History.svelte'),
  edit: () => import('../views/RunEdit.svelte'),
  strip: () => import('../steer/Strip.svelte'),
  kill: () => import('../steer/Kill.svelte'),
  sure: () => import('../steer/Sure.svelte'),
  alerts: () => import('../views/Alerts.svelte'),
  launch: () => import('../views/Launch.svelte'),
  settings: () => import('../views/Settings.svelte'),
  reached: () => import('../chats/Reached.svelte'),
  help: () => import('../parts/Help.svelte'),
} as const;

/** Fetch the rest while nothing else happens: a tab then opens at once, also while the server is away. */
export function prefetch(): void {
  const work = (): void => void Promise.allSettled(Object.values(PARTS).map((load) => load()));
  if ('requestIdleCallback' in window) requestIdleCallback(work, { timeout: 5000 });
  else setTimeout(work, 2000);
}
