import { describe, expect, it } from 'vitest';
import type { AlertRow, CommandRow, Machine, Profile } from '../api/types';
import { alike, checkpointsOf, fromOf, fromText, offersFor, valuesOf } from './again';

const COMMAND = ['python', 'train.py', '--lr={lr}', '--name', 'a-{size}x{size}'];

describe('a command line', () => {
  it('is read back into the values of a profile', () => {
    expect(valuesOf(COMMAND, ['train.py', '--lr=1e-3', '--name', 'a-4x4'])).toEqual({ lr: '1e-3', size: '4' });
    expect(valuesOf(COMMAND, ['/data/ann/digits/train.py', '--lr=', '--name', 'a-bigxbig'])).toEqual({ lr: '', size: 'big' });
    expect(valuesOf(['python', '-m', 'digits.train', '{lr}'], ['/data/ann/digits/train.py', '0.1'])).toEqual({ lr: '0.1' });
    expect(valuesOf(['./train', '{{{x}}}'], ['train', '{5}'])).toEqual({ x: '5' });
  });

  it('of another program is none of it', () => {
    for (const argv of [[], ['train.py'], ['other.py', '--lr=1e-3', '--name', 'a-4x4'], ['train.py', '--lr=1', '--name', 'a-4x5'], ['train.py', '--lr=1', '--name', 'b-4x4'], ['python', 'python', 'train.py', '--lr=1', '--name', 'a-4x4']])
      expect([argv, valuesOf(COMMAND, argv)]).toEqual([argv, null]);
  });
});

describe('profiles for a run', () => {
  const profile = { name: 'digits', command: COMMAND, parameters: { lr: { type: 'float', default: 1e-3 }, size: { type: 'int' }, seed: { type: 'int', default: 7 } } } as unknown as Profile;
  const machine = (host: string, user: string, more: Partial<Machine> = {}): Machine => ({ agent: `${user}@${host}`, host, user, present: true, error: null, heard_ms: 0, profiles: [profile], ...more });
  const run = { argv: ['train.py', '--lr=0.5', '--name', 'a-4x4'], host: 'box-2', owner: 'ann' };

  it('come from its own machine first, with the values it had and the defaults of the rest', () => {
    const offers = offersFor(run, [machine('box-1', 'ann'), machine('box-2', 'ann', { present: false }), machine('box-2', 'bob'), machine('box-3', 'ann', { profiles: [] })]);
    expect(offers.map((offer) => offer.machine.agent)).toEqual(['bob@box-2', 'ann@box-1', 'ann@box-2']);
    expect(offers[0]!.texts).toEqual({ lr: '0.5', size: '4', seed: '7' });
  });

  it('know by a name where to go on from', () => {
    const named = (name: string, type = 'str'): Profile => ({ parameters: { lr: { type: 'float' }, [name]: { type } } }) as unknown as Profile;
    expect(['resume', 'resume_from', 'resume_from_checkpoint', 'from_step', 'ckpt'].map((name) => fromOf(named(name)))).toEqual(['resume', 'resume_from', 'resume_from_checkpoint', 'from_step', 'ckpt']);
    expect([fromOf(named('checkpoint_every')), fromOf(named('resume', 'bool')), fromOf(profile)]).toEqual([null, null, null]);
  });
});

describe('checkpoints', () => {
  const command = (more: Partial<CommandRow>): CommandRow => ({ op: 'checkpoint', state: 'applied', step: 40, result: '/tmp/40.pt', ended_ms: 400, accepted_ms: 390, ...more }) as CommandRow;

  it('are those of commands, alerts and files, newest first', () => {
    const alert = { checkpoint: { step: 60, time_ms: 600, path: 'x.pt' } } as unknown as AlertRow;
    const found = checkpointsOf([command({}), command({ state: 'refused' }), command({ op: 'pause' })], [alert, { checkpoint: null } as AlertRow], [{ path: 'out/epoch3-step50.pt', mtime_ms: 500 }, { path: 'notes.txt', mtime_ms: 900 }]);
    expect(found).toEqual([{ step: 60, path: null, timeMs: 600 }, { step: 50, path: null, timeMs: 500 }, { step: 40, path: '/tmp/40.pt', timeMs: 400 }]);
    expect(found.map((one) => [fromText({ type: 'int' }, one), fromText({ type: 'str' }, one)])).toEqual([['60', null], ['50', null], ['40', '/tmp/40.pt']]);
  });
});

describe('two values', () => {
  it('are alike if they mean the same number', () => {
    expect([alike('1e-3', '0.001'), alike('a', 'a'), alike('a', 'b'), alike('1', '1.5'), alike('', '')]).toEqual([true, true, false, false, true]);
  });
});
