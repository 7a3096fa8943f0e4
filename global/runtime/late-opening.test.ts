import { describe, expect, test } from 'vitest';
import { ManualClock } from './clock.js';
import { MeridianError } from './errors.js';
import { LATE_OPENING_WAITS, openOrLater } from './late-opening.js';
import { createLogger } from './logger.js';

interface Port {
  ask(question: string): Promise<string>;
  close(): Promise<void>;
}

function rig(failures: readonly MeridianError[]) {
  const clock = new ManualClock();
  const left = [...failures];
  const engine = {
    answered: 0,
    closed: 0,
    async ask(question: string) {
      this.answered++;
      return `${question}!`;
    },
    async close() {
      this.closed++;
    },
  };
  let opened = 0;
  const open = async (): Promise<Port> => {
    opened++;
    const failure = left.shift();
    if (failure) throw failure;
    return engine;
  };
  const options = { what: 'the store at es:9200', open, clock, logger: createLogger('test', 'silent') };
  return { clock, engine, options, opened: () => opened };
}

const away = () => new MeridianError('unavailable', 'connection refused', 'later');
const wrong = () => new MeridianError('configuration', 'the index is somebody else’s', 'never');

describe('opening an engine that may be away', () => {
  test('one that is there is given as it is', async () => {
    const { options, engine } = rig([]);
    expect((await openOrLater(options)).engine).toBe(engine);
  });

  test('a wrong configuration rejects at once', async () => {
    const { options, opened } = rig([wrong()]);
    await expect(openOrLater(options)).rejects.toMatchObject({ code: 'configuration' });
    expect(opened()).toBe(1);
  });

  test('one that is away is asked for until it comes; calls say since when and why', async () => {
    const { options, clock, engine, opened } = rig([away(), away()]);
    const { engine: port, member, whenOpen } = await openOrLater(options);
    const open = whenOpen();
    const part = member((opened) => ({ shout: async (text: string) => (await opened.ask(text)).toUpperCase() }));
    await expect(part.shout('where')).rejects.toMatchObject({ code: 'unavailable' });
    await expect(port.ask('where')).rejects.toMatchObject({
      code: 'unavailable',
      retry: 'later',
      message: `the store at es:9200 was not reached since ${new Date(clock.nowMs()).toISOString()}: connection refused`,
    });
    await clock.advance(LATE_OPENING_WAITS.firstMs);
    expect(opened()).toBe(2);
    await expect(port.ask('where')).rejects.toMatchObject({ code: 'unavailable' });
    await clock.advance(LATE_OPENING_WAITS.firstMs);
    await open;
    expect(await port.ask('here')).toBe('here!');
    expect(await part.shout('here')).toBe('HERE!');
    await port.close();
    expect(engine).toMatchObject({ answered: 2, closed: 1 });
  });

  test('a failure that does not pass ends the trying, and is what calls say', async () => {
    const { options, clock, opened } = rig([away(), wrong()]);
    const { engine: port } = await openOrLater(options);
    await clock.advance(LATE_OPENING_WAITS.maxMs);
    await expect(port.ask('where')).rejects.toMatchObject({ code: 'configuration' });
    await clock.advance(LATE_OPENING_WAITS.maxMs);
    expect(opened()).toBe(2);
    await port.close();
  });

  test('closing before it came ends the trying', async () => {
    const { options, clock, opened } = rig([away(), away()]);
    const { engine: port, whenOpen } = await openOrLater(options);
    const open = expect(whenOpen()).rejects.toMatchObject({ code: 'unavailable' });
    await port.close();
    await open;
    await clock.advance(LATE_OPENING_WAITS.maxMs);
    expect(opened()).toBe(1);
  });
});
