import { createCipheriv } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import type { ISocketFactory } from 'kafkajs';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import type { LogEntry, SpanLog } from '../../global/log/span-log.js';
import type { KafkaBroker } from '../../scripts/engines/kafka-broker.js';
import { brokerForTests, openLogForTests } from './kafka-log-for-tests.js';
import { Happenings, Member, readAll, textEntry, texts, topicOf } from './span-log-harness.js';

let broker: KafkaBroker;
let disposeBroker = async () => {};
let names = 0;

beforeAll(async () => {
  const started = await brokerForTests();
  broker = started.broker;
  disposeBroker = started.dispose;
});

afterAll(() => disposeBroker());

async function open(over: Parameters<typeof openLogForTests>[1] = {}): Promise<SpanLog> {
  const log = await openLogForTests(broker, over);
  onTestFinished(() => log.close());
  return log;
}

function name(base: string): string {
  names++;
  return `${base}-${names}`;
}

function join(log: SpanLog, options: Parameters<typeof Member.join>[1]): Promise<Member> {
  return Member.join(log, options, { happenings: new Happenings(), owners: new Map() });
}

/** Entries as they were taken without those that a repetition brought again. */
function firstTimes(values: readonly string[]): string[] {
  return [...new Set(values)];
}

describe('a broker that dies', () => {
  test('kill -9 in the middle of appends: what was acknowledged is there once, in the order of the calls', async () => {
    const log = await open({ appendBudgetMs: 30_000 });
    const topic = name('killed');
    await log.ensure([topicOf(topic, 2)]);
    const acknowledged: string[][] = [[], []];
    const sent: Promise<void>[] = [];
    const failed: unknown[] = [];
    let killed = false;
    const append = (i: number) =>
      log
        .append(topic, i % 2, [textEntry(`${i}`, 'k'), textEntry(`${i}`.padEnd(5_000, '+'))])
        .then(() => void acknowledged[i % 2]!.push(`${i}`, `${i}`.padEnd(5_000, '+')))
        .catch((error: unknown) => void failed.push(error));
    for (let i = 0; i < 600; i++) {
      sent.push(append(i));
      if (i === 200) {
        await sent[50];
        await broker.kill();
        killed = true;
      }
      if (i === 400) await broker.restart();
    }
    await Promise.all(sent);
    expect(killed).toBe(true);
    expect(failed).toEqual([]);
    for (const partition of [0, 1]) {
      const found = texts(await readAll(log, topic, partition));
      // None twice: the broker knows a repetition by producer and sequence, also after its restart.
      expect(found).toEqual(acknowledged[partition]);
      expect(acknowledged[partition]).toHaveLength(600);
    }
  });

  test('connections that are cut again and again: nothing is lost, nothing is there twice', async () => {
    const sockets = new Set<Socket>();
    const socketFactory: ISocketFactory = ({ host, port, onConnect }) => {
      const socket = connect({ host, port }, onConnect).setMaxListeners(0);
      sockets.add(socket);
      socket.once('close', () => sockets.delete(socket));
      return socket;
    };
    const log = await open({ appendBudgetMs: 30_000, retryMs: 5, retryMaxMs: 20, socketFactory });
    const topic = name('cut');
    await log.ensure([topicOf(topic, 3)]);
    const rounds = Array.from({ length: 30 }, (_, round) => [0, 1, 2].map((p) => `${round}:${p}`.padEnd(20_000, '-')));
    for (const [round, values] of rounds.entries()) {
      const appended = Promise.all(values.map((value, p) => log.append(topic, p, [textEntry(value), textEntry('.')])));
      // In a turn of the event loop each: before the request is written, while it is, before the answer has come.
      for (let turn = 0; turn < round % 10; turn++) await new Promise<void>((resolve) => setImmediate(resolve));
      for (const socket of sockets) socket.destroy(new Error('cut'));
      await appended;
    }
    for (const p of [0, 1, 2]) {
      const found = texts(await readAll(log, topic, p)).map((value) => value.replace(/-+$/, ''));
      expect(found).toEqual(rounds.flatMap((_, round) => [`${round}:${p}`, '.']));
    }
  });

  test('away for longer than the budget: unavailable, and the log goes on afterwards', async () => {
    const log = await open({ appendBudgetMs: 2_000, askBudgetMs: 2_000 });
    const topic = name('away');
    await log.ensure([topicOf(topic, 1)]);
    await log.append(topic, 0, [textEntry('before')]);
    await broker.kill();
    await expect(log.append(topic, 0, [textEntry('during')])).rejects.toMatchObject({
      code: 'unavailable',
      retry: 'later',
      message: expect.stringContaining(`${topic}/0`),
    });
    await expect(log.ends(topic)).rejects.toMatchObject({ code: 'unavailable' });
    await expect(log.read(topic, 0, 0, 1024)).rejects.toMatchObject({ code: 'unavailable' });
    await expect(log.committed('group', topic)).rejects.toMatchObject({ code: 'unavailable' });
    await broker.restart();
    for (let done = false; !done; ) {
      done = await log.append(topic, 0, [textEntry('after')]).then(
        () => true,
        () => false,
      );
    }
    const found = firstTimes(texts(await readAll(log, topic, 0)));
    expect(found.filter((value) => value !== 'during')).toEqual(['before', 'after']);
  });

  test('a consumer goes on after a restart: nothing lost, nothing handled that was committed', async () => {
    const log = await open({ appendBudgetMs: 30_000, askBudgetMs: 30_000, sessionMs: 20_000 });
    const [topic, group] = [name('survives'), name('group')];
    await log.ensure([topicOf(topic, 2)]);
    const member = await join(log, { group, topics: [topic] });
    await log.append(topic, 0, [textEntry('a')]);
    await member.until(() => member.taken().length === 1);
    await broker.kill();
    const appended = log.append(topic, 1, [textEntry('b')]);
    await broker.restart();
    await appended;
    await log.append(topic, 0, [textEntry('c')]);
    await member.until(() => new Set(texts(member.taken())).size === 3);
    await member.stop();
    expect(member.broken).toEqual([]);
    expect(texts(member.taken()).filter((value) => value === 'a')).toEqual(['a']);
    expect(await log.committed(group, topic)).toEqual(await log.ends(topic));
  });

  test('away for longer than a session: ownership is lost, and comes back where the commits are', async () => {
    // Long enough that a busy machine does not end a session by itself.
    const log = await open({ askBudgetMs: 1_000, sessionMs: 4_000, retryMaxMs: 200 });
    const [topic, group] = [name('session'), name('group')];
    await log.ensure([topicOf(topic, 1)]);
    const member = await join(log, { group, topics: [topic] });
    await log.append(topic, 0, [textEntry('a')]);
    await member.until(() => member.taken().length === 1);
    await broker.kill();
    await member.until(() => member.ownerships[0]!.closed !== null);
    expect(member.ownerships[0]!.closed).toBe('lost');
    await expect(member.ownerships[0]!.assignment.commit(100)).rejects.toMatchObject({ code: 'refused' });
    await broker.restart();
    await member.until(() => member.owned().length === 1);
    await log.append(topic, 0, [textEntry('b')]);
    await member.until(() => member.taken().length === 2);
    await member.stop();
    expect(texts(member.taken())).toEqual(['a', 'b']);
    expect(member.broken).toEqual([]);
  });
});

describe('limits', () => {
  test('a topic that takes less than the log does refuses by name, and only its own partition', async () => {
    const small = await open({ entryBytesMax: 1_000 });
    const [topic, other] = [name('small'), name('other')];
    await small.ensure([topicOf(topic, 1), topicOf(other, 1)]);
    const log = await open();
    // Bytes like random ones: the broker looks at what was compressed.
    const large = createCipheriv('aes-128-ctr', Buffer.alloc(16), Buffer.alloc(16)).update(Buffer.alloc(200_000));
    const [refused, taken] = await Promise.allSettled([
      log.append(topic, 0, [{ key: null, value: large, headers: {} }]),
      log.append(other, 0, [textEntry('fits')]),
    ]);
    expect(refused).toMatchObject({ status: 'rejected', reason: { code: 'too-large', retry: 'never' } });
    expect(taken.status).toBe('fulfilled');
    await log.append(topic, 0, [textEntry('fits too')]);
    expect(texts(await readAll(log, topic, 0))).toEqual(['fits too']);
  });

  test('an entry at its limits is taken, one past them is not', async () => {
    const log = await open({ entryBytesMax: 50_000, headersMax: 3, headersBytesMax: 1_000 });
    const topic = name('limits');
    await log.ensure([topicOf(topic, 1)]);
    const headers = (count: number) =>
      Object.fromEntries(Array.from({ length: count }, (_, i) => [`h${i}`, Buffer.of(i)]));
    const attempt = (entry: Partial<LogEntry>) =>
      log.append(topic, 0, [{ key: null, value: Buffer.alloc(0), headers: {}, ...entry }]);
    const tooLarge = { code: 'too-large', message: expect.stringContaining(topic) };
    await attempt({ value: Buffer.alloc(50_000) });
    await expect(attempt({ value: Buffer.alloc(50_001) })).rejects.toMatchObject(tooLarge);
    await attempt({ headers: headers(3) });
    await expect(attempt({ headers: headers(4) })).rejects.toMatchObject(tooLarge);
    await attempt({ headers: { h: Buffer.alloc(1_000 - 8) } });
    await expect(attempt({ headers: { h: Buffer.alloc(1_001 - 8) } })).rejects.toMatchObject(tooLarge);
  });

  test('what waits is bounded: overloaded one byte past the limit', async () => {
    const log = await open({ queuedBytesMax: 1_000 });
    const topic = name('queue');
    await log.ensure([topicOf(topic, 1)]);
    const fits = log.append(topic, 0, [textEntry('x'.repeat(1_000))]);
    await expect(log.append(topic, 0, [textEntry('y')])).rejects.toMatchObject({ code: 'overloaded', retry: 'later' });
    await fits;
    await log.append(topic, 0, [textEntry('z')]);
    expect(texts(await readAll(log, topic, 0)).map((v) => v.length)).toEqual([1_000, 1]);
  });

  test('an append that is larger than a request goes in several, in order', async () => {
    const log = await open({ partitionRequestBytesMax: 3_000, requestBytesMax: 5_000 });
    const topic = name('portions');
    await log.ensure([topicOf(topic, 3)]);
    const values = (p: number) => Array.from({ length: 20 }, (_, i) => `${p}:${i}`.padEnd(1_000, '.'));
    const firsts = await Promise.all(
      [0, 1, 2].map((p) =>
        log.append(
          topic,
          p,
          values(p).map((v) => textEntry(v)),
        ),
      ),
    );
    for (const p of [0, 1, 2]) {
      const records = await readAll(log, topic, p);
      expect(texts(records)).toEqual(values(p));
      expect(records[0]!.offset).toBe(firsts[p]!.firstOffset);
    }
  });

  test('a consumer that is behind holds no more than its buffer and a fetch', async () => {
    const log = await open({ bufferedBytesMax: 20_000, fetchPartitionBytesMax: 10_000 });
    const [topic, group] = [name('behind'), name('group')];
    await log.ensure([topicOf(topic, 1)]);
    const values = Array.from({ length: 200 }, (_, i) => `${i}`.padEnd(1_000, '-'));
    for (const value of values) await log.append(topic, 0, [textEntry(value)]);
    const member = await join(log, { group, topics: [topic], batchBytesMax: 3_000 });
    await member.until(() => member.taken().length === values.length);
    await member.stop();
    expect(texts(member.taken())).toEqual(values);
    expect(member.broken).toEqual([]);
  });
});

describe('topics', () => {
  test('an unknown topic is refused at once, also to a consumer', async () => {
    const log = await open();
    const topic = name('unknown');
    const notFound = { code: 'not-found', message: expect.stringContaining(topic) };
    await expect(log.append(topic, 0, [textEntry('x')])).rejects.toMatchObject(notFound);
    await expect(log.ends(topic)).rejects.toMatchObject(notFound);
    await expect(log.read(topic, 0, 0, 1)).rejects.toMatchObject(notFound);
    const assigned = () => {
      throw new Error('never');
    };
    const subscription = { group: 'g', topics: [topic], from: 'earliest' as const, batchBytesMax: 1, assigned };
    await expect(log.subscribe(subscription)).rejects.toMatchObject(notFound);
  });

  test('every setting that differs is named', async () => {
    const log = await open();
    const topic = name('differs');
    await log.ensure([topicOf(topic, 1, { retentionMs: 60_000 })]);
    await log.ensure([topicOf(topic, 1, { retentionMs: 59_000 })]);
    await expect(log.ensure([topicOf(topic, 2, { retentionMs: 61_000, compacted: true })])).rejects.toMatchObject({
      code: 'configuration',
      message: expect.stringMatching(
        new RegExp(
          `${topic} has 1 partitions, not 2.*cleanup.policy=delete, not compact.*retention.ms=60000, not 61000`,
        ),
      ),
    });
  });

  test('two that make the same topics at once do not disturb each other', async () => {
    const [one, two] = [await open(), await open()];
    const specs = ['a', 'b', 'c'].map((base) => topicOf(name(base), 2));
    await Promise.all([one.ensure(specs), two.ensure(specs)]);
    for (const spec of specs) expect(await one.ends(spec.name)).toEqual([0, 0]);
  });

  test('more replicas than there are brokers: the reason of the cluster is told', async () => {
    const log = await open({ replicationFactor: 3 });
    await expect(log.ensure([topicOf(name('replicas'), 1)])).rejects.toMatchObject({
      message: expect.stringMatching(/replicas-\d+.*[Rr]eplication.factor/),
    });
  });
});
