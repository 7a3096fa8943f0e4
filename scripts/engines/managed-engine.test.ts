import { expect, test } from 'vitest';
import { ManualClock } from '../../global/runtime/clock.js';
import type { ProcessState } from '../fleet/managed-process.js';
import { ManagedEngine, type StartedEngine } from './managed-engine.js';

/** An engine whose starts succeed, fail or hang as the test says. */
class FakeEngine implements StartedEngine {
  pid = 100;
  ended!: Promise<string>;
  starts = 0;
  failNext = 0;
  hangNext = false;
  readonly ends: string[] = [];
  end!: (how: string) => void;
  abort: () => void = () => {};

  constructor() {
    this.fresh();
  }

  fresh(): void {
    this.ended = new Promise((resolve) => {
      this.end = (how) => {
        this.ends.push(how);
        resolve(how);
      };
    });
  }

  async stop(): Promise<void> {
    this.end('exit code 0');
  }

  async kill(): Promise<void> {
    this.end('SIGKILL');
  }

  async restart(): Promise<void> {
    this.starts++;
    if (this.hangNext) await new Promise<void>((_, reject) => (this.abort = () => reject(new Error('aborted'))));
    if (this.failNext > 0) {
      this.failNext--;
      throw new Error('the port is taken');
    }
    this.pid++;
    this.fresh();
  }
}

function managed() {
  const clock = new ManualClock();
  const engine = new FakeEngine();
  const states: ProcessState[] = [];
  const watched = new ManagedEngine({
    launch: async () => {
      await engine.restart();
      return engine;
    },
    abortStart: () => engine.abort(),
    clock,
    onState: (state) => states.push(state),
  });
  return { clock, engine, states, watched };
}

const settle = async () => {
  for (let i = 0; i < 20; i++) await Promise.resolve();
};

test('one that dies is started again after 200 ms, and then after twice as long each time', async () => {
  const { clock, engine, states, watched } = managed();
  await watched.start();
  expect(watched.watch).toMatchObject({ state: 'up', pid: 101 });
  engine.failNext = 2;
  engine.end('SIGKILL');
  await settle();
  const sinceMs = clock.nowMs();
  expect(watched.watch).toMatchObject({ state: 'died', sinceMs, pid: null, detail: 'SIGKILL' });
  await clock.advance(200);
  expect(watched.watch).toMatchObject({ state: 'died', sinceMs, detail: expect.stringContaining('the port is taken') });
  await clock.advance(400);
  await clock.advance(800);
  await settle();
  expect(watched.watch).toMatchObject({ state: 'up', pid: 102 });
  const waits = states.flatMap((state) => (state.state === 'died' ? [state.restartInMs] : []));
  expect(waits).toEqual([200, 400, 800]);
});

test('one that was up for long is started again at once after its next death', async () => {
  const { clock, engine, states, watched } = managed();
  await watched.start();
  engine.end('SIGKILL');
  await settle();
  await clock.advance(200);
  await settle();
  await clock.advance(10_001);
  engine.end('SIGKILL');
  await settle();
  expect(states.at(-1)).toEqual({ state: 'died', how: 'SIGKILL', restartInMs: 200 });
});

test('one that somebody stops stays down until somebody starts it', async () => {
  const { clock, engine, watched, states } = managed();
  await watched.start();
  await watched.stop(false);
  expect(engine.ends).toEqual(['exit code 0']);
  await clock.advance(60_000);
  expect(watched.watch.state).toBe('stopped');
  expect(engine.starts).toBe(1);
  expect(states.at(-1)).toEqual({ state: 'stopped' });
  await watched.start();
  expect(watched.watch).toMatchObject({ state: 'up', pid: 102 });
});

test('a crash is started again', async () => {
  const { clock, engine, watched } = managed();
  await watched.start();
  await watched.crash();
  await settle();
  await clock.advance(200);
  await settle();
  expect([engine.ends, watched.watch.state]).toEqual([['SIGKILL'], 'up']);
});

test('a first start that fails is the caller’s', async () => {
  const { clock, engine, watched } = managed();
  engine.failNext = 1;
  await expect(watched.start()).rejects.toThrow('the port is taken');
  await clock.advance(60_000);
  expect([engine.starts, watched.wanted, watched.watch.state]).toEqual([1, false, 'stopped']);
});

test('stopping does not wait for a start that is under way, be it the first or one after a death', async () => {
  const { clock, engine, watched } = managed();
  engine.hangNext = true;
  const starting = watched.start();
  await settle();
  const failed = expect(starting).rejects.toThrow('aborted');
  await watched.stop(false);
  await failed;
  engine.hangNext = false;
  await watched.start();
  engine.end('SIGKILL');
  engine.hangNext = true;
  await settle();
  await clock.advance(200);
  await settle();
  await watched.stop(true);
  expect(watched.watch.state).toBe('stopped');
  await clock.advance(60_000);
  expect(engine.starts).toBe(3);
});

test('one that is let go is neither ended nor started again', async () => {
  const { clock, engine, watched } = managed();
  await watched.start();
  watched.leave();
  engine.end('exit code 0');
  await settle();
  await clock.advance(60_000);
  expect(engine.starts).toBe(1);
});
