import { Live, type LiveStatus } from '../api/live';
import { clock } from './clock.svelte';

/** Whether the page hears the server, and since when it does not. */
class Connection {
  status = $state<LiveStatus>({ state: 'connecting', message: null });
  /** When the server was last heard, by its own clock. */
  heardMs = $state(Date.now());
}

export const connection = new Connection();

export const live = new Live((status) => (connection.status = status));

export function startLive(): void {
  live.listen(({ answer }) => {
    clock.set(answer.now_ms);
    connection.heardMs = clock.exact();
  });
  live.start();
  addEventListener('online', () => live.retry());
  document.addEventListener('visibilitychange', () => live.retry());
}
