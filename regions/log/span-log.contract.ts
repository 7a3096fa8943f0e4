import { describe, expect, onTestFinished, type TestContext, test, vi } from 'vitest';
import type { LogEntry } from '../../global/log/span-log.js';
import { MeridianError } from '../../global/runtime/errors.js';
import { spanLogConsumersContract } from './span-log-consumers.contract.js';
import {
  type ContractOptions,
  type LogUnderTest,
  type OpenLog,
  readAll,
  textEntry,
  texts,
  topicOf,
} from './span-log-harness.js';

/**
 * What every `SpanLog` promises, whatever it is made of: offsets may have gaps, groups may take seconds to settle, and nothing but
 * the interface's own comments is expected. `open` is called once per test; topics and groups have names of their own.
 */
export function spanLogContract(name: string, open: OpenLog, options: ContractOptions = {}): void {
  const timeout = options.patienceMs ?? 30_000;
  const start = async (t: TestContext): Promise<LogUnderTest> => {
    const subject = await open(t);
    onTestFinished(() => subject.dispose());
    return subject;
  };

  describe(`${name}: appends and reads`, { timeout }, () => {
    test('records come back in order, byte for byte', async (t) => {
      const { log, name } = await start(t);
      const topic = name('bytes');
      await log.ensure([topicOf(topic, 2)]);
      const every = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
      const entries: LogEntry[] = [
        {
          key: every,
          value: every,
          headers: { meridian: every, 'ümlaut-😀': Buffer.from('x'), empty: Buffer.alloc(0) },
        },
        { key: null, value: Buffer.from('no key'), headers: {} },
        { key: Buffer.from('k'), value: Buffer.alloc(0), headers: {} },
        { key: Buffer.from('k'), value: Buffer.alloc(300_001, 'large'), headers: { h: Buffer.from([0]) } },
      ];
      const { firstOffset } = await log.append(topic, 1, entries);
      const records = await readAll(log, topic, 1);
      expect(records[0]!.offset).toBe(firstOffset);
      const plain = (e: LogEntry) => ({
        key: e.key && Buffer.from(e.key),
        value: Buffer.from(e.value),
        headers: Object.fromEntries(Object.entries(e.headers).map(([k, v]) => [k, Buffer.from(v)])),
      });
      expect(records.map(plain)).toEqual(entries.map(plain));
      expect(records.map((r) => r.offset)).toEqual([...records.map((r) => r.offset)].sort((a, b) => a - b));
      expect(new Set(records.map((r) => r.offset)).size).toBe(records.length);
      expect(await readAll(log, topic, 0)).toEqual([]);
    });

    test('an empty list appends nothing', async (t) => {
      const { log, name } = await start(t);
      const topic = name('empty');
      await log.ensure([topicOf(topic, 1)]);
      await log.append(topic, 0, []);
      expect(await log.ends(topic)).toEqual(await log.starts(topic));
      expect(await log.read(topic, 0, 0, 1024)).toEqual([]);
    });

    test('concurrent appends to a partition keep the order of the calls', async (t) => {
      const { log, name } = await start(t);
      const topic = name('order');
      await log.ensure([topicOf(topic, 2)]);
      const calls = Array.from({ length: 100 }, (_, i) =>
        log.append(topic, i % 2, [textEntry(`${i}`), textEntry(`${i}+`)]),
      );
      await Promise.all(calls);
      for (const partition of [0, 1]) {
        const numbers = Array.from({ length: 50 }, (_, i) => i * 2 + partition);
        expect(texts(await readAll(log, topic, partition))).toEqual(numbers.flatMap((i) => [`${i}`, `${i}+`]));
      }
    });

    test('the first offset is that of the first entry, for each of several calls', async (t) => {
      const { log, name } = await start(t);
      const topic = name('first');
      await log.ensure([topicOf(topic, 1)]);
      const values = ['a', 'b', 'c', 'd'];
      const firsts = await Promise.all(values.map((v) => log.append(topic, 0, [textEntry(v), textEntry(`${v}2`)])));
      const records = await readAll(log, topic, 0);
      for (const [i, { firstOffset }] of firsts.entries()) {
        expect(Buffer.from(records.find((r) => r.offset === firstOffset)!.value).toString()).toBe(values[i]);
      }
    });

    test('the bytes of an append are the caller’s again when it has resolved', async (t) => {
      const { log, name } = await start(t);
      const topic = name('reuse');
      await log.ensure([topicOf(topic, 1)]);
      const bytes = Buffer.from('first!');
      for (const text of ['first!', 'second', 'third.']) {
        bytes.write(text);
        await log.append(topic, 0, [{ key: bytes, value: bytes, headers: { h: bytes } }]);
      }
      const records = await readAll(log, topic, 0);
      expect(texts(records)).toEqual(['first!', 'second', 'third.']);
      expect(records.map((r) => Buffer.from(r.headers.h!).toString())).toEqual(['first!', 'second', 'third.']);
    });

    test('an unknown topic or partition is refused by name', async (t) => {
      const { log, name } = await start(t);
      const topic = name('known');
      await log.ensure([topicOf(topic, 2)]);
      const missing = name('missing');
      const rejected = await log.append(missing, 0, [textEntry('x')]).catch((error: unknown) => error);
      expect(rejected).toBeInstanceOf(MeridianError);
      expect(rejected).toMatchObject({ code: 'not-found', message: expect.stringContaining(missing) });
      await expect(log.append(topic, 2, [textEntry('x')])).rejects.toMatchObject({ code: 'not-found' });
    });

    test('an entry that is too large is refused, and the log goes on', async (t) => {
      const { log, name, tooLargeBytes } = await start(t);
      const topic = name('large');
      await log.ensure([topicOf(topic, 1)]);
      const large = { key: null, value: Buffer.alloc(tooLargeBytes), headers: {} };
      await expect(log.append(topic, 0, [large])).rejects.toMatchObject({ code: 'too-large', retry: 'never' });
      await log.append(topic, 0, [textEntry('small')]);
      expect(texts(await readAll(log, topic, 0))).toContain('small');
    });

    test('a read takes up to its bytes, but at least one record, and is empty at the end', async (t) => {
      const { log, name } = await start(t);
      const topic = name('reads');
      await log.ensure([topicOf(topic, 1)]);
      await log.append(
        topic,
        0,
        ['0123456789', 'abcdefghij', 'ABCDEFGHIJ'].map((v) => textEntry(v)),
      );
      const [first, second, third] = await readAll(log, topic, 0);
      expect(texts(await log.read(topic, 0, first!.offset, 1))).toEqual(['0123456789']);
      const some = texts(await log.read(topic, 0, first!.offset, 25));
      expect(some.length).toBeLessThanOrEqual(2);
      expect(texts(await log.read(topic, 0, second!.offset, 10))).toEqual(['abcdefghij']);
      expect(texts(await log.read(topic, 0, third!.offset, 1_000_000))).toEqual(['ABCDEFGHIJ']);
      expect(await log.read(topic, 0, third!.offset + 1, 1_000_000)).toEqual([]);
    });
  });

  describe(`${name}: topics and offsets`, { timeout }, () => {
    test('ends lie after every append that has resolved, starts at the oldest record', async (t) => {
      const { log, name } = await start(t);
      const topic = name('ends');
      await log.ensure([topicOf(topic, 3)]);
      expect(await log.ends(topic)).toHaveLength(3);
      expect(await log.starts(topic)).toEqual(await log.ends(topic));
      const { firstOffset } = await log.append(topic, 1, [textEntry('a'), textEntry('b')]);
      const last = (await readAll(log, topic, 1)).at(-1)!;
      const [, end] = await log.ends(topic);
      expect(end).toBeGreaterThan(last.offset);
      expect((await log.starts(topic))[1]).toBe(firstOffset);
      expect(await log.read(topic, 1, end!, 1024)).toEqual([]);
    });

    test('ensure makes what is missing and refuses other partition counts', async (t) => {
      const { log, name } = await start(t);
      const [one, two] = [name('one'), name('two')];
      await log.ensure([topicOf(one, 2)]);
      await log.append(one, 1, [textEntry('kept')]);
      await log.ensure([topicOf(one, 2), topicOf(two, 1)]);
      await log.ensure([topicOf(one, 2), topicOf(two, 1)]);
      expect(texts(await readAll(log, one, 1))).toEqual(['kept']);
      await log.append(two, 0, [textEntry('new')]);
      await expect(log.ensure([topicOf(one, 3)])).rejects.toMatchObject({ code: 'configuration' });
      expect(await log.ends(one)).toHaveLength(2);
    });

    test('offsetAt finds the first record at or after a time', async (t) => {
      const { log, name, tick } = await start(t);
      const topic = name('times');
      await log.ensure([topicOf(topic, 2)]);
      for (const value of ['a', 'b', 'c']) {
        await log.append(topic, 0, [textEntry(value)]);
        await tick();
      }
      const [a, b, c] = await readAll(log, topic, 0);
      expect(b!.appendedMs).toBeGreaterThan(a!.appendedMs);
      expect(await log.offsetAt(topic, 0, 0)).toBe(a!.offset);
      expect(await log.offsetAt(topic, 0, b!.appendedMs)).toBe(b!.offset);
      expect(await log.offsetAt(topic, 0, b!.appendedMs + 1)).toBe(c!.offset);
      expect(await log.offsetAt(topic, 0, c!.appendedMs + 1)).toBe((await log.ends(topic))[0]);
      expect(await log.offsetAt(topic, 1, 0)).toBe((await log.ends(topic))[1]);
    });

    test('records older than the retention go, the offsets go on', async (t) => {
      const { log, name, expire, shortRetentionMs } = await start(t);
      const topic = name('old');
      await log.ensure([topicOf(topic, 1, { retentionMs: shortRetentionMs })]);
      await log.append(topic, 0, [textEntry('old'), textEntry('old too')]);
      const [end] = await log.ends(topic);
      await expire();
      await vi.waitFor(async () => expect(await log.starts(topic)).toEqual([end]), { timeout, interval: 20 });
      expect(await readAll(log, topic, 0)).toEqual([]);
      const { firstOffset } = await log.append(topic, 0, [textEntry('new')]);
      expect(firstOffset).toBeGreaterThanOrEqual(end!);
      expect(texts(await readAll(log, topic, 0))).toEqual(['new']);
      expect((await log.starts(topic))[0]).toBe(firstOffset);
    });

    test('a log that was closed and opened again holds everything', async (t) => {
      const subject = await start(t);
      const topic = subject.name('reopened');
      await subject.log.ensure([topicOf(topic, 2)]);
      await subject.log.append(topic, 0, [textEntry('a', 'key'), textEntry('b')]);
      const before = { records: await readAll(subject.log, topic, 0), ends: await subject.log.ends(topic) };
      const again = await subject.reopen();
      await again.ensure([topicOf(topic, 2)]);
      expect(await again.ends(topic)).toEqual(before.ends);
      expect(await readAll(again, topic, 0)).toEqual(before.records);
      const { firstOffset } = await again.append(topic, 0, [textEntry('c')]);
      expect(firstOffset).toBeGreaterThan(before.records.at(-1)!.offset);
      expect(texts(await readAll(again, topic, 0))).toEqual(['a', 'b', 'c']);
    });

    test('a killed process loses nothing that was acknowledged', async (t) => {
      const subject = await start(t);
      const topic = subject.name('killed');
      await subject.log.ensure([topicOf(topic, 2)]);
      const values = Array.from({ length: 40 }, (_, i) => `value ${i}`);
      await Promise.all(values.map((value, i) => subject.log.append(topic, i % 2, [textEntry(value)])));
      const group = subject.name('killed-group');
      await subject.log.rewind(group, topic, 1, 7);
      const after = await subject.crash();
      for (const partition of [0, 1]) {
        expect(texts(await readAll(after, topic, partition))).toEqual(values.filter((_, i) => i % 2 === partition));
      }
      expect(await after.committed(group, topic)).toEqual([null, 7]);
    });
  });

  spanLogConsumersContract(name, start, timeout);
}
