import { readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { MeridianError } from '../../../global/runtime/errors.js';
import { NOTABLE, ROUTINE, type SpoolClass, VITAL } from './spool-class.js';
import { realSpoolFiles, type SpoolFiles } from './spool-disk.js';
import { readFrame } from './spool-frame.js';
import { spoolHealth } from './spool-health.js';
import { SPOOL_BYTES_MIN } from './spool-limits.js';
import { AWAY, namesOf, randomText, SpoolRig } from './testing/spool-rig.js';

let rig: SpoolRig;
beforeEach(() => {
  rig = new SpoolRig();
});
afterEach(() => rig.dispose());

const BYTES_MAX = SPOOL_BYTES_MIN;

/** Spans of about 2 kB that cannot be compressed, until one is refused; the names that were acknowledged. */
async function fill(spoolClass: SpoolClass, prefix: string): Promise<string[]> {
  const acknowledged: string[] = [];
  for (let i = 0; ; i++) {
    const name = `${prefix}${i} ${randomText(2000, prefix.charCodeAt(0) * 1000 + i)}`;
    try {
      await rig.append(i % 3, name, spoolClass);
    } catch (error) {
      expect(error).toMatchObject({ code: 'unavailable', retry: 'later' });
      return acknowledged;
    }
    expect(rig.spoolFileBytes()).toBeLessThanOrEqual(BYTES_MAX);
    acknowledged.push(name);
  }
}

const allFound = () => [0, 1, 2].flatMap((partition) => rig.found(partition));
const dropped = () => rig.report().droppedSpans;

describe('a full spool', () => {
  test('gives up the lowest class first, then the next, and refuses what is worth no more than what it has', async () => {
    await rig.start({ bytesMax: BYTES_MAX });
    rig.log.failWith = AWAY;
    const routine = await fill(ROUTINE, 'r');
    expect(routine.length).toBeGreaterThan(20);
    expect(dropped()).toEqual([0, 0, 0]);
    const notable = await fill(NOTABLE, 'n');
    expect(dropped()).toEqual([routine.length, 0, 0]);
    const vital = await fill(VITAL, 'v');
    expect(dropped()).toEqual([routine.length, notable.length, 0]);
    await expect(rig.append(0, randomText(2000, 1), ROUTINE)).rejects.toMatchObject({ code: 'unavailable' });
    expect(rig.report().spool).toMatchObject({ isFull: true, spans: [0, 0, vital.length] });
    const health = spoolHealth(rig.report())!;
    expect(health.state).toBe('down');
    expect(health.detail).toContain('THE SPOOL REFUSES NEW SPANS: it is full; senders are told to retry');
    expect(health.detail).toContain(`DROPPED to make room: ${routine.length} routine, ${notable.length} notable spans`);
    rig.log.failWith = null;
    await rig.drained();
    expect(allFound().sort()).toEqual([...vital].sort());
    expect(rig.spoolFileBytes()).toBe(0);
  });

  test('what is found and what was counted as dropped is what was acknowledged, whatever comes', async () => {
    await rig.start({ bytesMax: BYTES_MAX });
    rig.log.failWith = AWAY;
    const acknowledged: string[][] = [[], [], []];
    for (let i = 0; i < 200; i++) {
      const spoolClass = ((i * 7) % 3) as SpoolClass;
      const name = `${i} ${randomText(500 + ((i * 37) % 1500), i)}`;
      await rig.append(i % 3, name, spoolClass).then(
        () => acknowledged[spoolClass]!.push(name),
        () => {},
      );
      expect(rig.spoolFileBytes()).toBeLessThanOrEqual(BYTES_MAX);
    }
    rig.log.failWith = null;
    await rig.drained();
    const found = new Set(allFound());
    const missing = acknowledged.map((names) => names.filter((name) => !found.has(name)).length);
    expect(missing).toEqual(dropped());
    expect(missing[ROUTINE]).toBeGreaterThan(0);
    expect(missing[VITAL]).toBe(0);
  });

  test('a record larger than the limit is refused, one of the limit is kept', async () => {
    await rig.start({ entryBytesMax: 500 });
    rig.log.failWith = AWAY;
    const overhead = 100;
    await rig.append(0, 'x'.repeat(500 - overhead));
    await expect(rig.append(0, 'x'.repeat(500))).rejects.toMatchObject({
      code: 'unavailable',
      retry: 'later',
      message: expect.stringContaining('500'),
    });
  });

  test('what waits for the disk is bounded', async () => {
    await rig.start({ queuedBytesMax: 1000, failuresToOpen: 1 });
    rig.log.failWith = AWAY;
    await rig.append(0, 'opens');
    const results = await Promise.allSettled(Array.from({ length: 10 }, (_, i) => rig.append(0, `${i}`.repeat(200))));
    const kept = results.filter((result) => result.status === 'fulfilled').length;
    expect(kept).toBeGreaterThan(0);
    expect(kept).toBeLessThan(5);
  });
});

/** The real files, but writing, syncing or opening for a write fails while it is set. */
class FaultyFiles implements SpoolFiles {
  fault: { readonly on: 'open' | 'write' | 'short-write' | 'datasync' | 'read'; readonly code: string } | null = null;

  async open(path: string, flags: string): Promise<FileHandle> {
    this.#check('open', flags !== 'r');
    const handle = await realSpoolFiles.open(path, flags);
    const faulty = this;
    return new Proxy(handle, {
      get(target, property) {
        const value: unknown = Reflect.get(target, property);
        if (typeof value !== 'function') return value;
        return (...args: unknown[]) => {
          if (property === 'write' || property === 'datasync') faulty.#check(property, true);
          const isShort = property === 'write' && faulty.fault?.on === 'short-write' && args.length > 1;
          return value.apply(target, isShort ? [args[0], 0, 7, args[3]] : args) as unknown;
        };
      },
    });
  }

  async readFile(path: string): Promise<Buffer> {
    this.#check('read', true);
    return realSpoolFiles.readFile(path);
  }

  remove(path: string): Promise<void> {
    return realSpoolFiles.remove(path);
  }

  #check(on: string, applies: boolean): void {
    if (applies && this.fault?.on === on) {
      throw Object.assign(new Error(`${this.fault.code}: ${on}`), { code: this.fault.code });
    }
  }
}

describe('a disk that fails', () => {
  test.each(['open', 'write', 'short-write', 'datasync'] as const)(
    '%s: refused, to be sent again; what was kept stays',
    async (on) => {
      const files = new FaultyFiles();
      await rig.start({ failuresToOpen: 1 }, files);
      rig.log.failWith = AWAY;
      if (on !== 'open') await rig.append(0, 'before');
      files.fault = { on, code: 'ENOSPC' };
      await expect(rig.append(0, 'during')).rejects.toMatchObject({ code: 'unavailable', retry: 'later' });
      expect(spoolHealth(rig.report())).toMatchObject({
        state: 'down',
        detail: expect.stringContaining('its disk failed'),
      });
      files.fault = null;
      await rig.append(0, 'after');
      expect(spoolHealth(rig.report())).toMatchObject({ state: 'degraded' });
      // As after a crash: what is on the disk is all that there is.
      await rig.stop();
      await rig.start({}, files);
      rig.log.failWith = null;
      await rig.drained();
      expect(rig.found(0).filter((name) => name !== 'during')).toEqual(on === 'open' ? ['after'] : ['before', 'after']);
    },
  );

  test('a disk that fails and a log that fails: refused by both names; when the log is back it is found without the spool', async () => {
    const files = new FaultyFiles();
    await rig.start({ failuresToOpen: 1 }, files);
    files.fault = { on: 'write', code: 'EIO' };
    rig.log.failWith = AWAY;
    await expect(rig.append(0, 'a')).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringMatching(/the brokers are away.*EIO/s),
    });
    expect(rig.report().isOpen).toBe(true);
    rig.log.failWith = null;
    await expect(rig.append(0, 'b')).rejects.toMatchObject({ message: expect.stringContaining('EIO') });
    await rig.clock.advance(500);
    await rig.append(0, 'c');
    expect(rig.found(0)).toEqual(['c']);
    expect(rig.report()).toMatchObject({ isOpen: false });
  });

  test('a position that cannot be written stops nothing', async () => {
    const files = new FaultyFiles();
    await rig.start({}, files);
    rig.log.failWith = AWAY;
    await rig.append(0, 'a');
    files.fault = { on: 'open', code: 'ENOSPC' };
    rig.log.failWith = null;
    await rig.drained();
    expect(rig.found(0)).toEqual(['a']);
  });

  test('a file that cannot be read for a while is replayed later', async () => {
    const files = new FaultyFiles();
    await rig.start({}, files);
    rig.log.failWith = AWAY;
    await rig.append(0, 'a');
    files.fault = { on: 'read', code: 'EMFILE' };
    rig.log.failWith = null;
    await rig.clock.advance(3000);
    expect(rig.found(0)).toEqual([]);
    files.fault = null;
    await rig.drained();
    expect(rig.found(0)).toEqual(['a']);
  });

  test('a folder that cannot be used is a clear error at the start', async () => {
    writeFileSync(join(rig.folder, 'file'), '');
    const other = new SpoolRig();
    Object.assign(other, { folder: join(rig.folder, 'file') });
    await expect(other.start()).rejects.toMatchObject({
      code: 'configuration',
      message: expect.stringContaining('spoolDir'),
    });
  });
});

describe('damage', () => {
  async function spooled(names: readonly string[]): Promise<string> {
    await rig.start();
    rig.log.failWith = AWAY;
    for (const name of names) await rig.append(0, name);
    await rig.stop();
    return join(rig.folder, rig.spoolFiles()[0]!);
  }

  test('a file that ends in the middle of a record is cut there', async () => {
    const file = await spooled(['a', 'b', 'c']);
    truncateSync(file, readFileSync(file).length - 1);
    await rig.start();
    rig.log.failWith = null;
    await rig.drained();
    expect(rig.found(0)).toEqual(['a', 'b']);
  });

  test('zeros behind the last record, as a power cut leaves them, are cut', async () => {
    const file = await spooled(['a', 'b']);
    writeFileSync(file, Buffer.concat([readFileSync(file), Buffer.alloc(5000)]));
    await rig.start();
    rig.log.failWith = null;
    await rig.drained();
    expect(rig.found(0)).toEqual(['a', 'b']);
  });

  test('positions that are damaged make it replay again, nothing else', async () => {
    await spooled(['a']);
    for (const name of ['position-a', 'position-b']) writeFileSync(join(rig.folder, name), 'no position');
    await rig.start();
    rig.log.failWith = null;
    await rig.drained();
    expect(rig.found(0)).toEqual(['a']);
  });

  test('a record that goes bad on the disk is counted, and the others are replayed', async () => {
    await rig.start();
    rig.log.failWith = AWAY;
    for (const name of ['a', 'b', 'c']) await rig.append(0, name);
    const file = join(rig.folder, rig.spoolFiles()[0]!);
    const bytes = readFileSync(file);
    bytes[Math.floor(bytes.length / 2)]! ^= 1;
    writeFileSync(file, bytes);
    rig.log.failWith = null;
    await rig.drained();
    expect(rig.found(0)).toEqual(['a', 'c']);
    expect(await rig.metric('unreplayable_spans_total')).toBe(1);
  });
});

describe('a record that the log refuses for good', () => {
  test('is set aside for a person, and the others go on', async () => {
    await rig.start();
    rig.log.failWith = AWAY;
    for (const name of ['a', 'bad', 'c']) await rig.append(0, name);
    rig.log.failWith = null;
    const append = rig.log.append.bind(rig.log);
    rig.log.append = (topic, partition, entries) =>
      entries.some((entry) => namesOf(entry.value).includes('bad'))
        ? Promise.reject(new MeridianError('too-large', 'at most 3 bytes', 'never'))
        : append(topic, partition, entries);
    await rig.drained();
    expect(rig.found(0)).toEqual(['a', 'c']);
    expect(await rig.metric('unreplayable_spans_total')).toBe(1);
    const aside = readdirSync(rig.folder).filter((name) => name.endsWith('.aside'));
    expect(aside).toHaveLength(1);
    expect(namesOf(readFrame(readFileSync(join(rig.folder, aside[0]!)), 0).entry.value)).toEqual(['bad']);
    // It counts against the bound, also after a start.
    const { bytes } = rig.report().spool;
    expect(bytes).toBeGreaterThan(0);
    await rig.stop();
    await rig.start();
    expect(rig.report().spool.bytes).toBe(bytes);
  });
});
