import { describe, expect, type TestContext, test } from 'vitest';
import type { LogRecord, SpanLog } from '../../global/log/span-log.js';
import {
  Happenings,
  type LogUnderTest,
  Member,
  type MemberOptions,
  textEntry,
  texts,
  topicOf,
} from './span-log-harness.js';

/** Joins members of one group that watch each other. */
function groupOf(log: SpanLog) {
  const shared = { happenings: new Happenings(), owners: new Map<string, Member>() };
  return (options: MemberOptions) => Member.join(log, options, shared);
}

/** The part of the contract that is about consumers and groups; called by `spanLogContract`. */
export function spanLogConsumersContract(
  name: string,
  start: (t: TestContext) => Promise<LogUnderTest>,
  timeout: number,
): void {
  const withTopic = async (t: TestContext, partitions: number) => {
    const subject = await start(t);
    const topic = subject.name('topic');
    const group = subject.name('group');
    await subject.log.ensure([topicOf(topic, partitions)]);
    return { subject, log: subject.log, topic, group, join: groupOf(subject.log) };
  };

  describe(`${name}: consumers`, { timeout }, () => {
    test('earliest: everything that is there, then what comes, in order', async (t) => {
      const { log, topic, group, join } = await withTopic(t, 1);
      await log.append(topic, 0, [textEntry('a'), textEntry('b')]);
      const member = await join({ group, topics: [topic] });
      await member.until(() => member.taken().length >= 2);
      await log.append(topic, 0, [textEntry('c')]);
      await member.until(() => member.taken().length >= 3);
      await member.stop();
      expect(texts(member.taken())).toEqual(['a', 'b', 'c']);
      expect(member.broken).toEqual([]);
    });

    test('latest: only what comes after the assignment', async (t) => {
      const { log, topic, group, join } = await withTopic(t, 1);
      await log.append(topic, 0, [textEntry('before')]);
      const [end] = await log.ends(topic);
      const member = await join({ group, topics: [topic], from: 'latest' });
      await member.until(() => member.owned().length === 1);
      expect(member.ownerships[0]!.assignment.startOffset).toBe(end);
      await log.append(topic, 0, [textEntry('after')]);
      await member.until(() => member.taken().length >= 1);
      await member.stop();
      expect(texts(member.taken())).toEqual(['after']);
    });

    test('a batch ends at its bytes, but holds at least one record', async (t) => {
      const { log, topic, group, join } = await withTopic(t, 1);
      const sizes = [10, 10, 10, 90, 10, 10];
      await log.append(
        topic,
        0,
        sizes.map((size, i) => textEntry(`${i}`.repeat(size))),
      );
      const member = await join({ group, topics: [topic], batchBytesMax: 30 });
      await member.until(() => member.taken().length === sizes.length);
      await member.stop();
      for (const { records } of member.batches) {
        const bytes = records.reduce((sum, r) => sum + r.value.length, 0);
        expect(records.length === 1 || bytes <= 30).toBe(true);
      }
      expect(texts(member.taken()).map((v) => v.length)).toEqual(sizes);
    });

    test('the next batch waits until the last one is done', async (t) => {
      const { log, topic, group, join } = await withTopic(t, 1);
      let started = 0;
      let release: () => void = () => {};
      const held = new Promise<void>((resolve) => {
        release = resolve;
      });
      const happenings = new Happenings();
      const member = await join({
        group,
        topics: [topic],
        batchBytesMax: 1,
        onBatch: async () => {
          started++;
          happenings.happened();
          if (started === 1) await held;
        },
      });
      await log.append(topic, 0, [textEntry('a'), textEntry('b')]);
      await happenings.until(() => started === 1);
      await log.append(topic, 0, [textEntry('c')]);
      await log.read(topic, 0, 0, 1024);
      expect(started).toBe(1);
      release();
      await member.until(() => member.taken().length === 3);
      await member.stop();
      expect(texts(member.taken())).toEqual(['a', 'b', 'c']);
      expect(member.broken).toEqual([]);
    });

    test('a rejection ends the ownership, and the batch comes again', async (t) => {
      const { log, topic, group, join } = await withTopic(t, 1);
      await log.append(topic, 0, [textEntry('good'), textEntry('bad')]);
      const offered: string[] = [];
      const member = await join({
        group,
        topics: [topic],
        batchBytesMax: 1,
        onBatch: (records) => {
          const [value] = texts(records);
          offered.push(value!);
          if (value === 'bad' && offered.filter((v) => v === 'bad').length < 3) throw new Error('not now');
        },
      });
      await member.until(() => member.taken().length === 2);
      await member.stop();
      expect(offered).toEqual(['good', 'bad', 'bad', 'bad']);
      expect(member.ownerships).toHaveLength(3);
      expect(member.ownerships[0]!.closed).not.toBe(null);
      expect(member.ownerships[1]!.assignment.startOffset).toBeGreaterThan(
        member.ownerships[0]!.assignment.startOffset,
      );
      await expect(member.ownerships[0]!.assignment.commit(1_000)).rejects.toMatchObject({ code: 'refused' });
      expect(member.broken).toEqual([]);
    });

    test('commits only grow, are told, and are where the next member begins', async (t) => {
      const { log, topic, group, join } = await withTopic(t, 2);
      await log.append(
        topic,
        0,
        ['a', 'b', 'c'].map((v) => textEntry(v)),
      );
      expect(await log.committed(group, topic)).toEqual([null, null]);
      const first = await join({ group, topics: [topic], commits: false });
      await first.until(() => first.taken().length === 3);
      const [, b, c] = first.taken();
      const { assignment } = first.ownerships.find((o) => o.partition === 0)!;
      await assignment.commit(c!.offset);
      expect(await log.committed(group, topic)).toEqual([c!.offset, null]);
      await assignment.commit(b!.offset);
      expect(await log.committed(group, topic)).toEqual([c!.offset, null]);
      await first.stop();
      const second = await join({ group, topics: [topic] });
      await second.until(() => second.taken().length === 1);
      await second.stop();
      expect(texts(second.taken())).toEqual(['c']);
      expect(second.ownerships.find((o) => o.partition === 0)!.assignment.startOffset).toBe(c!.offset);
    });

    test('a stopped member may commit until it is closed, not afterwards', async (t) => {
      const { log, topic, group, join } = await withTopic(t, 1);
      await log.append(topic, 0, [textEntry('a')]);
      const member = await join({
        group,
        topics: [topic],
        commits: false,
        onClose: async (_reason, { assignment }, self) => {
          await assignment.commit(self.taken().at(-1)!.offset + 1);
        },
      });
      await member.until(() => member.taken().length === 1);
      await member.stop();
      const [ownership] = member.ownerships;
      expect(ownership!.closed).toBe('stopped');
      const next = member.taken()[0]!.offset + 1;
      expect(await log.committed(group, topic)).toEqual([next]);
      await expect(ownership!.assignment.commit(next + 1)).rejects.toMatchObject({ code: 'refused' });
      expect(await log.committed(group, topic)).toEqual([next]);
    });

    test('stop waits for the batch that is running', async (t) => {
      const { log, topic, group, join } = await withTopic(t, 1);
      const happenings = new Happenings();
      const events: string[] = [];
      let release: () => void = () => {};
      const held = new Promise<void>((resolve) => {
        release = resolve;
      });
      const member = await join({
        group,
        topics: [topic],
        onBatch: async () => {
          events.push('batch');
          happenings.happened();
          await held;
          events.push('batch done');
        },
        onClose: (reason) => void events.push(reason),
      });
      await log.append(topic, 0, [textEntry('a')]);
      await happenings.until(() => events.length === 1);
      const stopped = member.stop().then(() => events.push('stop resolved'));
      release();
      await stopped;
      expect(events).toEqual(['batch', 'batch done', 'stopped', 'stop resolved']);
      expect(member.broken).toEqual([]);
    });

    test('a handler may append to the log, also while it is closed', async (t) => {
      const { log, topic, subject, group, join } = await withTopic(t, 1);
      const target = subject.name('target');
      await log.ensure([topicOf(target, 1)]);
      const member = await join({
        group,
        topics: [topic],
        onBatch: async (records) => {
          await log.append(
            target,
            0,
            texts(records).map((v) => textEntry(`${v}!`)),
          );
        },
        onClose: async () => {
          await log.append(target, 0, [textEntry('closed')]);
        },
      });
      await log.append(topic, 0, [textEntry('a')]);
      await member.until(() => member.taken().length === 1);
      await member.stop();
      expect(texts(await log.read(target, 0, 0, 1024))).toEqual(['a!', 'closed']);
    });

    test('rewind sets the commit back and forth, but not under a member', async (t) => {
      const { log, topic, group, join } = await withTopic(t, 1);
      await log.append(
        topic,
        0,
        ['a', 'b', 'c'].map((v) => textEntry(v)),
      );
      const first = await join({ group, topics: [topic] });
      await first.until(() => first.taken().length === 3);
      const [a, b, c] = first.taken();
      await expect(log.rewind(group, topic, 0, a!.offset)).rejects.toMatchObject({ code: 'refused' });
      await first.stop();
      await log.rewind(group, topic, 0, c!.offset);
      await log.rewind(group, topic, 0, b!.offset);
      expect(await log.committed(group, topic)).toEqual([b!.offset]);
      const second = await join({ group, topics: [topic] });
      await second.until(() => second.taken().length === 2);
      await second.stop();
      expect(texts(second.taken())).toEqual(['b', 'c']);
    });

    test('after a crash delivery goes on at the last commit', async (t) => {
      const { subject, log, topic, group, join } = await withTopic(t, 1);
      await log.append(
        topic,
        0,
        ['a', 'b', 'c'].map((v) => textEntry(v)),
      );
      const first = await join({ group, topics: [topic], commits: false });
      await first.until(() => first.taken().length === 3);
      await first.ownerships[0]!.assignment.commit(first.taken()[1]!.offset);
      const after = await subject.crash();
      const second = await groupOf(after)({ group, topics: [topic] });
      await second.until(() => second.taken().length === 2);
      await second.stop();
      expect(texts(second.taken())).toEqual(['b', 'c']);
    });
  });

  describe(`${name}: groups`, { timeout }, () => {
    const PARTITIONS = 4;

    test('members share the partitions, each with one owner', async (t) => {
      const { log, topic, group, join } = await withTopic(t, PARTITIONS);
      const a = await join({ group, topics: [topic] });
      await a.until(() => a.owned().length === PARTITIONS);
      const b = await join({ group, topics: [topic] });
      await b.until(() => a.owned().length === 2 && b.owned().length === 2);
      for (let p = 0; p < PARTITIONS; p++) await log.append(topic, p, [textEntry(`${p}`)]);
      await a.until(() => a.taken().length + b.taken().length >= PARTITIONS);
      expect([...a.owned(), ...b.owned()].sort()).toEqual([0, 1, 2, 3]);
      expect([...texts(a.taken()), ...texts(b.taken())].sort()).toEqual(['0', '1', '2', '3']);
      expect(a.ownerships.map((o) => o.closed).filter((c) => c === 'revoked').length).toBeGreaterThan(0);
      await Promise.all([a.stop(), b.stop()]);
      expect([...a.broken, ...b.broken]).toEqual([]);
    });

    test('what a member leaves the others take over, and nothing is lost', async (t) => {
      const { log, topic, group, join } = await withTopic(t, PARTITIONS);
      const a = await join({ group, topics: [topic] });
      const b = await join({ group, topics: [topic] });
      await a.until(() => a.owned().length === 2 && b.owned().length === 2);
      const sent: string[] = [];
      const send = async (from: number, to: number) => {
        for (let i = from; i < to; i++) {
          sent.push(`${i}`);
          await log.append(topic, i % PARTITIONS, [textEntry(`${i}`)]);
        }
      };
      const sending = send(0, 60);
      await b.until(() => b.taken().length > 0);
      await b.stop();
      await sending;
      await send(60, 80);
      const seen = () => new Set([...texts(a.taken()), ...texts(b.taken())]);
      await a.until(() => seen().size === sent.length);
      expect(a.owned()).toEqual([0, 1, 2, 3]);
      expect(b.owned()).toEqual([]);
      await a.stop();
      expect([...a.broken, ...b.broken]).toEqual([]);
    });

    test('groups do not know of each other', async (t) => {
      const { subject, log, topic, group } = await withTopic(t, 2);
      await log.append(topic, 0, [textEntry('a')]);
      const one = await groupOf(log)({ group, topics: [topic] });
      const two = await groupOf(log)({ group: subject.name('other'), topics: [topic] });
      await Promise.all([one, two].map((m) => m.until(() => m.owned().length === 2 && m.taken().length === 1)));
      await Promise.all([one.stop(), two.stop()]);
      expect([texts(one.taken()), texts(two.taken())]).toEqual([['a'], ['a']]);
    });

    test('one member may take several topics', async (t) => {
      const { subject, log, topic, group, join } = await withTopic(t, 2);
      const second = subject.name('second');
      await log.ensure([topicOf(second, 1)]);
      const member = await join({ group, topics: [topic, second] });
      await log.append(topic, 1, [textEntry('a')]);
      await log.append(second, 0, [textEntry('b')]);
      await member.until(() => member.taken().length === 2);
      await member.stop();
      const values = (records: readonly LogRecord[]) => texts(records);
      expect([values(member.taken(topic)), values(member.taken(second))]).toEqual([['a'], ['b']]);
      expect((await log.committed(group, second))[0]).not.toBe(null);
    });
  });
}
