import { getJson, postJson } from '../api/client';
import type { RunDetail } from '../api/types';
import { runPath } from '../model/route';
import { wishId } from '../model/steer';
import { t } from '../state/prefs.svelte';
import { router } from '../state/router.svelte';
import { toast } from '../state/toast.svelte';
import { wishes } from '../state/wishes.svelte';
import { outcomeText } from './words';

const TRIES = 12;

/** Run the command of a run again on its machine, and show the new run. */
export async function runAgain(run: RunDetail): Promise<void> {
  const id = wishId();
  await toast.attempt(async () => {
    let asked = await wishes.insist(t('launch.start'), (confirm) => postJson('runs/{ref}/restart', { ref: run.id }, { id, channel: 'page', text: `run ${run.name} again`, ...(confirm ? { confirm } : {}) }));
    if (!asked) return;
    toast.say(t('launch.coming'));
    for (let tries = 0; asked.state === 'pending' && tries < TRIES; tries += 1) asked = await getJson('commands/{command}', { command: asked.id, wait_s: 10 });
    const made = asked.result && typeof asked.result === 'object' && !Array.isArray(asked.result) ? String(asked.result.run ?? '') : '';
    if (asked.state !== 'applied' || !made) throw new Error(outcomeText(asked));
    toast.hide();
    router.go(runPath(made));
  });
}
