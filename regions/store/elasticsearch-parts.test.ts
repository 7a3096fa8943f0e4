import { errors } from '@elastic/elasticsearch';
import { Registry } from 'prom-client';
import { describe, expect, test } from 'vitest';
import type { BlockId } from '../../global/model/metadata.js';
import { ManualClock } from '../../global/runtime/clock.js';
import { MeridianError } from '../../global/runtime/errors.js';
import { CircuitBreaker } from './elasticsearch-breaker.js';
import { type BulkItem, BulkWriter, cutBulks, type SendBulk } from './elasticsearch-bulk.js';
import type { BlockDocument } from './elasticsearch-document.js';
import { ElasticsearchError, failureOf } from './elasticsearch-errors.js';
import { fateOf } from './elasticsearch-expire.js';
import { ACCEPTED_PER_STEP, AdaptiveGate } from './elasticsearch-gate.js';
import { Lanes } from './elasticsearch-lanes.js';
import { PatientReads, READ_ATTEMPTS } from './elasticsearch-reads.js';
import { checkIndex, indexTemplate, schemaNames } from './elasticsearch-schema.js';
import { SharedRefresh } from './elasticsearch-shared-refresh.js';

const rejection = () => new ElasticsearchError('rejected', 'unavailable', 'no room', 'later', 429);
const document = (number: number, bytes = 10): BlockDocument => ({
  id: `us-east-1/0/0/${number}` as BlockId,
  json: 'x'.repeat(bytes),
});

describe('circuit breaker', () => {
  const breaker = (clock: ManualClock) => new CircuitBreaker('it', clock, { failuresMax: 3, openMs: 1000 });
  const passes = (of: CircuitBreaker) => {
    try {
      of.pass('try');
      return true;
    } catch (error) {
      expect(error).toMatchObject({ code: 'unavailable', retry: 'later' });
      return false;
    }
  };

  test('opens at the limit of failures in a row, lets one through after its time, and closes when that succeeds', async () => {
    const clock = new ManualClock();
    const it = breaker(clock);
    for (const fail of [true, true, false, true, true]) fail ? it.failed('no') : it.succeeded();
    expect(passes(it)).toBe(true);
    it.failed('no');
    expect([passes(it), it.isOpen]).toEqual([false, true]);
    await clock.advance(999);
    expect(passes(it)).toBe(false);
    await clock.advance(1);
    expect([passes(it), passes(it)]).toEqual([true, false]);
    it.succeeded();
    expect([passes(it), passes(it), it.isOpen]).toEqual([true, true, false]);
  });

  test('stays open where the one that was let through fails; one that was given up lets another through', async () => {
    const clock = new ManualClock();
    const it = breaker(clock);
    it.trip('busy');
    await clock.advance(1000);
    expect(passes(it)).toBe(true);
    it.left();
    expect(passes(it)).toBe(true);
    it.failed('still');
    expect(passes(it)).toBe(false);
  });
});

describe('connections', () => {
  test('so many at once; those who wait go in order; one too many is refused', async () => {
    const clock = new ManualClock();
    const lanes = new Lanes(2, clock, 2);
    await lanes.enter('a');
    await lanes.enter('b');
    const went: string[] = [];
    const c = lanes.enter('c').then(() => went.push('c'));
    const d = lanes.enter('d').then(() => went.push('d'));
    await expect(lanes.enter('e')).rejects.toMatchObject({ code: 'overloaded', retry: 'later' });
    await clock.advance(700);
    expect([lanes.used, lanes.exhaustedMs, went.length]).toEqual([2, 700, 0]);
    lanes.release();
    await c;
    lanes.release();
    await d;
    expect(went).toEqual(['c', 'd']);
    lanes.release();
    lanes.release();
    expect([lanes.used, lanes.exhaustedMs]).toEqual([0, 0]);
  });
});

describe('gate', () => {
  test('halved by a rejection, never below one; one more after a row of accepted calls, never above the most', async () => {
    const gate = new AdaptiveGate(5);
    gate.rejected();
    expect(gate.allowed).toBe(2);
    gate.rejected();
    gate.rejected();
    expect(gate.allowed).toBe(1);
    for (let i = 1; i < ACCEPTED_PER_STEP; i++) gate.accepted();
    expect(gate.allowed).toBe(1);
    gate.accepted();
    expect(gate.allowed).toBe(2);
    for (let i = 0; i < ACCEPTED_PER_STEP * 9; i++) gate.accepted();
    expect(gate.allowed).toBe(5);
  });
});

describe('bulks', () => {
  const writerOf = (send: SendBulk, clock = new ManualClock(), signal = new AbortController().signal) =>
    new BulkWriter({
      send,
      clock,
      registry: new Registry(),
      concurrencyMax: 2,
      bytesMax: 400_000,
      blocksMax: 4,
      budgetMs: 1000,
      signal,
    });
  const fine: BulkItem = { status: 201 };
  const full: BulkItem = { status: 429, error: { type: 'es_rejected_execution_exception', reason: 'full' } };

  test('cut at the limits of bytes and count; a larger document goes alone', () => {
    const sizes = (documents: BlockDocument[]) =>
      cutBulks(documents, 100, 3).map((group) => group.map(({ json }) => json.length));
    expect(sizes([])).toEqual([]);
    expect(sizes([50, 50, 1].map((bytes, i) => document(i, bytes)))).toEqual([[50, 50], [1]]);
    expect(sizes([1, 1, 1, 1].map((bytes, i) => document(i, bytes)))).toEqual([[1, 1, 1], [1]]);
    expect(sizes([1, 101, 1].map((bytes, i) => document(i, bytes)))).toEqual([[1], [101], [1]]);
  });

  test('no more on their way than allowed', async () => {
    let now = 0;
    let most = 0;
    const writer = writerOf(async (documents) => {
      most = Math.max(most, ++now);
      await new Promise((resolve) => setImmediate(resolve));
      now--;
      return documents.map(() => fine);
    });
    await writer.write(Array.from({ length: 40 }, (_, i) => document(i)));
    expect(most).toBe(2);
  });

  test('items that were refused go again, alone; a request that was refused goes again in smaller ones', async () => {
    const clock = new ManualClock();
    const sent: number[][] = [];
    const answers = [[fine, full, fine, full], 'refused', [fine], [fine]] as const;
    const writer = writerOf(async (documents) => {
      sent.push(documents.map(({ json }) => json.length));
      const answer = answers[sent.length - 1]!;
      if (answer === 'refused') throw rejection();
      return answer;
    }, clock);
    const done = writer.write([1, 90_000, 2, 80_000].map((bytes, i) => document(i, bytes)));
    await advanceUntil(done, clock);
    expect(sent).toEqual([[1, 90_000, 2, 80_000], [90_000, 80_000], [90_000], [80_000]]);
  });

  test('refused for as long as the budget: unavailable, later; progress gives it time again', async () => {
    const clock = new ManualClock();
    let calls = 0;
    const writer = writerOf(async (documents) => {
      calls++;
      return documents.map((_, i) => (i === 0 && calls % 3 === 0 ? fine : full));
    }, clock);
    const slow = writer.write([0, 1, 2, 3].map((i) => document(i)));
    await advanceUntil(slow, clock);
    expect(calls).toBe(12);
    const never = writerOf(async (documents) => documents.map(() => full), clock).write([document(1)]);
    await expect(advanceUntil(never, clock)).rejects.toMatchObject({ code: 'unavailable', retry: 'later' });
  });

  test('closing ends the waiting', async () => {
    const closing = new AbortController();
    const writer = writerOf(async () => [full], new ManualClock(), closing.signal);
    const write = writer.write([document(1)]);
    closing.abort();
    await expect(write).rejects.toMatchObject({ code: 'unavailable' });
  });

  test.each<[string, BulkItem, string, string]>([
    ['a document at fault', { status: 400, error: { type: 'document_parsing_exception' } }, 'invalid', 'never'],
    [
      'a field that nobody knows',
      { status: 400, error: { type: 'strict_dynamic_mapping_exception' } },
      'unavailable',
      'later',
    ],
    ['a closed index', { status: 400, error: { type: 'index_closed_exception' } }, 'unavailable', 'later'],
    [
      'a shard that is not there',
      { status: 503, error: { type: 'unavailable_shards_exception' } },
      'unavailable',
      'later',
    ],
  ])('%s', async (_, item, code, retry) => {
    const write = writerOf(async () => [fine, item]).write([document(1), document(2)]);
    await expect(write).rejects.toMatchObject({ code, retry, message: expect.stringContaining('us-east-1/0/0/2') });
  });

  test('an answer that leaves a document out is none', async () => {
    await expect(writerOf(async () => [fine]).write([document(1), document(2)])).rejects.toMatchObject({
      code: 'unavailable',
    });
  });

  async function advanceUntil(work: Promise<void>, clock: ManualClock): Promise<void> {
    let over = false;
    const settled = work.finally(() => {
      over = true;
    });
    settled.catch(() => {});
    while (!over) {
      await new Promise((resolve) => setImmediate(resolve));
      await clock.advance(50);
    }
    return settled;
  }
});

describe('reads', () => {
  test('again while they are rejected, then the rejection is thrown; other failures at once', async () => {
    const clock = new ManualClock();
    let calls = 0;
    const answer = async <T>(): Promise<T> => {
      calls++;
      throw rejection();
    };
    const reads = new PatientReads({ request: answer }, clock, 4, new AbortController().signal);
    const read = reads.request({ what: 'read', method: 'GET', path: '/' });
    read.catch(() => {});
    for (let i = 0; i < 100; i++) await clock.advance(100);
    await expect(read).rejects.toMatchObject({ kind: 'rejected' });
    expect(calls).toBe(READ_ATTEMPTS);
  });
});

describe('a refresh that is shared', () => {
  test('who asks while one runs waits for the next, and those together', async () => {
    const runs: (() => void)[] = [];
    const refresh = new SharedRefresh(() => new Promise<void>((resolve) => runs.push(resolve)));
    const first = refresh.run();
    const late = [refresh.run(), refresh.run()];
    expect(runs).toHaveLength(1);
    runs[0]!();
    await first;
    await new Promise((resolve) => setImmediate(resolve));
    expect(runs).toHaveLength(2);
    runs[1]!();
    await Promise.all(late);
    expect(runs).toHaveLength(2);
  });

  test('one that fails fails those who waited for it, and not those after', async () => {
    let fail = true;
    const refresh = new SharedRefresh(async () => {
      if (fail) throw new Error('no');
    });
    const first = refresh.run();
    const next = refresh.run();
    fail = false;
    await expect(first).rejects.toThrow('no');
    await next;
  });
});

describe('failures', () => {
  const response = (statusCode: number, body: unknown) =>
    new errors.ResponseError({ statusCode, body, headers: {}, warnings: null, meta: META });

  test.each<[string, unknown, string, string, string]>([
    ['no connection', new errors.ConnectionError('refused'), 'unreachable', 'unavailable', 'later'],
    ['no answer in time', new errors.TimeoutError('late'), 'unreachable', 'unavailable', 'later'],
    ['ended by us', new errors.RequestAbortedError('aborted'), 'aborted', 'timeout', 'later'],
    ['429', response(429, {}), 'rejected', 'unavailable', 'later'],
    ['503', response(503, 'text'), 'unreachable', 'unavailable', 'later'],
    ['404', response(404, {}), 'missing', 'unavailable', 'later'],
    ['413', response(413, {}), 'other', 'too-large', 'never'],
    ['403', response(403, {}), 'other', 'unavailable', 'later'],
    ['400', response(400, {}), 'other', 'invalid', 'never'],
  ])('%s', (_, error, kind, code, retry) => {
    expect(failureOf('try', error)).toMatchObject({ kind, code, retry, message: expect.stringMatching(/^try: /) });
  });

  test('the reason is named', () => {
    const failure = failureOf('try', response(429, { error: { type: 'too_much', reason: 'queue full' } }));
    expect(failure.message).toBe('try: too_much: queue full (429)');
    expect(failureOf('try', new MeridianError('invalid', 'as it is', 'never')).message).toBe('as it is');
  });
});

const META = {
  context: null,
  name: 'test',
  request: { params: { method: 'GET', path: '/' }, options: {}, id: 1 },
  connection: null,
  attempts: 0,
  aborted: false,
};

describe('retention', () => {
  test.each([
    ['all older', '1', 99, 'remove'],
    ['just as old as is kept', '1', 100, 'keep'],
    ['its rest follows soon', '1', 150, 'keep'],
    ['a rest from the future', '1', 151, 'delete-blocks'],
    ['the one that takes writes, even if all are older', '2', 10, 'delete-blocks'],
    ['one that has come meanwhile', '3', 10, 'keep'],
  ])('%s', (_, index, newestMs, fate) => {
    expect(fateOf({ index, blocks: 1, newestMs }, '2', 100, 50)).toBe(fate);
  });
});

describe('schema', () => {
  const names = schemaNames('east');
  const { mappings } = indexTemplate(names, { shards: 1, replicas: 1, refreshMs: 1000 }).template;
  const index = { aliases: { [names.read]: {} }, mappings };

  test('an index as the template makes it is ours', () => {
    checkIndex('i', index, names);
    // Elasticsearch gives some values back as text.
    checkIndex('i', JSON.parse(JSON.stringify(index).replaceAll('false', '"false"')), names);
  });

  test.each([
    ['nothing of ours', { ...index, mappings: {} }, 'configuration'],
    [
      'another version',
      { ...index, mappings: { ...mappings, _meta: { meridian: 'segments', version: 2 } } },
      'unknown-version',
    ],
    ['fields that come by themselves', { ...index, mappings: { ...mappings, dynamic: 'true' } }, 'configuration'],
    ['a field too few', { ...index, mappings: { ...mappings, properties: {} } }, 'configuration'],
    ['without the alias', { ...index, aliases: {} }, 'configuration'],
  ])('%s', (_, found, code) => {
    expect(() => checkIndex('i', found, names)).toThrow(expect.objectContaining({ code, retry: 'never' }));
  });

  test('prefixes', () => {
    expect(schemaNames('a'.repeat(64)).read).toHaveLength(64 + '-segments'.length);
    for (const bad of ['', 'A', '-a', 'a.b', 'a*', 'a'.repeat(65)]) {
      expect(() => schemaNames(bad)).toThrow(expect.objectContaining({ code: 'configuration' }));
    }
  });
});
