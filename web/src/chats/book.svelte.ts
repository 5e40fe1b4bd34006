import { getJson, patchJson } from '../api/client';
import type { ChannelInfo, ChatChange, ChatInfo, KindInfo, PeopleList, PersonChange, PersonInfo } from '../api/types';
import { prefs } from '../state/prefs.svelte';
import { toast } from '../state/toast.svelte';
import { c } from './words';

const LOOK_MS = 4000;

/** Services, people and their chats, as the server has them; asked for again while a page shows them. */
class Book {
  channels = $state.raw<ChannelInfo[]>([]);
  kinds = $state.raw<KindInfo[]>([]);
  people = $state.raw<PeopleList>({ owner: '', people: [], chats: [], strangers: [], closed: false });
  loaded = $state(false);
  #asked = 0;

  async look(): Promise<void> {
    const mine = ++this.#asked;
    const [services, people] = await Promise.all([getJson('channels', {}), getJson('people', {})]);
    if (mine !== this.#asked) return; // an older answer that was slower
    this.channels = services.channels;
    this.kinds = services.kinds;
    this.people = people;
    this.loaded = true;
  }

  /** Keep it fresh until the answer is called. */
  watch(): () => void {
    const look = (): void => {
      if (document.visibilityState === 'visible') void this.look().catch(() => {}); // the head says that the server is away
    };
    look();
    const timer = setInterval(look, LOOK_MS);
    return () => clearInterval(timer);
  }

  kind(name: string): KindInfo | undefined {
    return this.kinds.find((one) => one.name === name);
  }

  /** Do something, and show what became of it. */
  async act(work: () => Promise<unknown>): Promise<boolean> {
    const done = await toast.attempt(async () => void (await work()));
    await this.look().catch(() => {}); // also what was refused is shown as it is
    return done;
  }

  /** Who is new speaks the language of this page, and lives by its clock, until they say otherwise. */
  async settle(person: PersonInfo): Promise<void> {
    const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
    const own = { ...(zone ? { zone } : {}), ...(prefs.language === 'zh' ? { lang: 'zh' } : {}) };
    await patchJson('people/{no}', { no: String(person.no) }, own).catch(() => {}); // as the server has it, then
    await this.look().catch(() => {});
  }

  /** Change a person at once; `back` is how it was. */
  async changePerson(person: PersonInfo, change: PersonChange, back: PersonChange): Promise<boolean> {
    const no = String(person.no);
    this.#assume(person.no, change);
    return this.act(async () => {
      await patchJson('people/{no}', { no }, change);
      toast.say(c('saved', { name: change.name ?? person.name }), async () => {
        await patchJson('people/{no}', { no }, back);
        await this.look();
      });
    });
  }

  /** Show a change before the server has answered, so that the next one, made meanwhile, begins from it. A look puts right what was refused. */
  #assume(no: number, { name, scopes, chats, ...settings }: PersonChange): void {
    this.#asked += 1; // an answer that is under way does not know of it
    const known = { ...(name ? { name } : {}), ...(scopes ? { scopes } : {}), ...(chats ? { chats } : {}) };
    this.people = { ...this.people, people: this.people.people.map((one) => (one.no === no ? { ...one, ...known, settings: { ...one.settings, ...settings } } : one)) };
  }

  /** Change what is sent to a chat at once; `back` is how it was. */
  async changeChat(chat: ChatInfo, name: string, change: ChatChange, back: ChatChange): Promise<boolean> {
    const no = String(chat.no);
    return this.act(async () => {
      await patchJson('chats/{no}', { no }, change);
      toast.say(c('saved', { name }), async () => {
        await patchJson('chats/{no}', { no }, back);
        await this.look();
      });
    });
  }
}

export const book = new Book();
