/** The x under the cursor, which all charts of the page show at once, and the run that the table points at. */
class Hover {
  x = $state<number | null>(null);
  owner = $state<string | null>(null);
  run = $state<string | null>(null);

  at(x: number | null, owner: string): void {
    if (x === null && this.owner !== owner) return;
    this.x = x;
    this.owner = x === null ? null : owner;
  }
}

export const hover = new Hover();
