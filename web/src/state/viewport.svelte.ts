const phone = matchMedia('(max-width: 44.99rem)');

/** Whether the page is as narrow as a phone; the same limit as in the styles. */
class Viewport {
  narrow = $state(phone.matches);

  constructor() {
    phone.addEventListener('change', () => (this.narrow = phone.matches));
  }
}

export const viewport = new Viewport();
