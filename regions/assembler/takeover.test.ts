import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { joinMetadata, metadataCounts } from '../../global/index/join.js';
import { GROUPS, TOPICS } from '../../global/log/topics.js';
import type { TraceMetadata } from '../../global/model/metadata.js';
import { decodeBlock, readEncodedBlock } from '../segments/block-codec.js';
import { HandGroup, type HandOwnership, type HandProcess } from './testing/hand-group.js';
import { HOME, Rig, turns } from './testing/rig.js';
import { spanKeysOf, type TestSpan, testSpanId, testTraceId } from './testing/spans.js';

const PARTITIONS = 2;
const TRACES = 12;
const REFRESH_MS = 300;

type Step =
  | { readonly do: 'append'; readonly trace: number; readonly root: boolean }
  | { readonly do: 'deliver'; readonly to: number; readonly count: number }
  | { readonly do: 'give'; readonly process: number; readonly partition: number }
  | { readonly do: 'close'; readonly ownership: number; readonly how: 'revoked' | 'lost' }
  | { readonly do: 'pass'; readonly ms: number }
  | { readonly do: 'store'; readonly records: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('append' as const),
      trace: fc.integer({ min: 1, max: TRACES }),
      root: fc.boolean(),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({ do: fc.constant('deliver' as const), to: fc.nat(9), count: fc.integer({ min: 1, max: 4 }) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('give' as const), process: fc.nat(2), partition: fc.nat(PARTITIONS - 1) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('close' as const),
      ownership: fc.nat(9),
      how: fc.constantFrom('revoked' as const, 'lost' as const),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('pass' as const), ms: fc.constantFrom(60, 200, 700) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('store' as const), records: fc.integer({ min: 1, max: 6 }) }) },
);

interface Appended {
  readonly key: string;
  readonly traceId: string;
  readonly partition: number;
  readonly atMs: number;
  readonly unixNano: bigint;
}

/** Three processes of one region, one of which may be a zombie of each partition; and a store behind a writer. */
class World {
  readonly rig = new Rig({
    partitions: { spans: PARTITIONS, segments: 1, traceMetadata: 1 },
    limits: {
      settleMs: 150,
      idleMs: 500,
      commitMs: 50,
      blockMs: 100,
      blockSegmentsMax: 3,
      watermarkMs: 50,
      idleWatermarkMs: 100,
      storeRefreshMs: REFRESH_MS,
      catalogueEntriesPerPassMax: 1,
    },
  });
  readonly group = new HandGroup(this.rig);
  readonly processes: HandProcess[] = [];
  readonly appended: Appended[] = [];
  /** With the time from which a search of the store shows it. */
  readonly stored = new Map<string, number>();
  ownerships: HandOwnership[] = [];
  #closing: Promise<void>[] = [];
  #stored = 0;
  #span = 0;

  async start(): Promise<void> {
    for (let i = 0; i < 3; i++) this.processes.push(await this.group.process());
    for (let partition = 0; partition < PARTITIONS; partition++) {
      this.ownerships.push(this.group.give(this.processes[0]!, partition));
    }
    await turns();
  }

  async run(one: Step): Promise<void> {
    switch (one.do) {
      case 'append':
        this.#append(one.trace, one.root);
        break;
      case 'deliver': {
        const ownership = this.ownerships[one.to % this.ownerships.length];
        if (ownership) await this.group.deliver(ownership, one.count).catch(() => this.#close(ownership, 'lost'));
        break;
      }
      case 'give':
        this.ownerships.push(this.group.give(this.processes[one.process]!, one.partition));
        break;
      case 'close': {
        const ownership = this.ownerships[one.ownership % this.ownerships.length];
        const current = this.ownerships.findLast(({ partition }) => partition === ownership?.partition);
        // The group's present owner stays, so that everything is read in the end; of a zombie only a loss can come.
        if (ownership && ownership !== current) this.#close(ownership, 'lost');
        else if (ownership && one.how === 'revoked') {
          const { process, partition } = ownership;
          this.#close(ownership, 'revoked');
          await this.#settle();
          this.ownerships.push(this.group.give(this.processes[(this.processes.indexOf(process) + 1) % 3]!, partition));
        }
        break;
      }
      case 'pass':
        await this.rig.pass(one.ms, 50);
        break;
      case 'store':
        await this.store(one.records);
        break;
    }
    await turns();
  }

  /** The writer: stores the next records of `segments` and commits. */
  async store(records: number): Promise<void> {
    const next = this.rig.memory.records(TOPICS.segments, 0).slice(this.#stored, this.#stored + records);
    for (const { value } of next) {
      const { segments } = await decodeBlock(readEncodedBlock(Buffer.from(value)));
      const visibleMs = this.rig.clock.monotonicMs() + REFRESH_MS;
      for (const key of segments.flatMap(({ payload }) => spanKeysOf(payload))) {
        this.stored.set(key, Math.min(this.stored.get(key) ?? Number.POSITIVE_INFINITY, visibleMs));
      }
    }
    this.#stored += next.length;
    if (next.length > 0) this.rig.memory.commitsOf(GROUPS.writer, TOPICS.segments)[0] = this.#stored;
  }

  #append(trace: number, root: boolean): void {
    const traceId = testTraceId(trace);
    const number = ++this.#span;
    const span: TestSpan = {
      traceId,
      spanId: testSpanId(number),
      ...(root ? {} : { parentSpanId: testSpanId(1 << 30) }),
      service: `service-${number % 5}`,
      name: `operation-${number}`,
    };
    this.rig.append([span]);
    this.appended.push({
      key: `${traceId}/${span.spanId}`,
      traceId,
      partition: this.rig.partitionOf(traceId),
      atMs: this.rig.clock.monotonicMs(),
      unixNano: this.rig.clock.nowUnixNano(),
    });
  }

  #close(ownership: HandOwnership, how: 'revoked' | 'lost'): void {
    this.ownerships = this.ownerships.filter((other) => other !== ownership);
    this.#closing.push(ownership.handler.close(how));
  }

  async #settle(): Promise<void> {
    let isDone = false;
    void Promise.all(this.#closing.splice(0)).then(() => {
      isDone = true;
    });
    await this.rig.until(() => isDone, 'handlers are closed');
  }

  /** Each process's claims are true: what was acknowledged before is there, or in the store. */
  async checkClaims(): Promise<void> {
    const nowMs = this.rig.clock.monotonicMs();
    for (const { assembler } of this.processes) {
      const partitions = assembler.live.partitions(HOME);
      const held = new Set<string>();
      for (let trace = 1; trace <= TRACES; trace++) {
        for (const { payload } of await assembler.live.get(HOME, testTraceId(trace))) {
          for (const key of spanKeysOf(payload)) held.add(key);
        }
      }
      for (const { partition, ageMs, searchable } of partitions) {
        if (ageMs === null) continue;
        const due = this.appended.filter((span) => span.partition === partition && span.atMs < nowMs - ageMs);
        for (const { key } of due) {
          if (held.has(key)) continue;
          const visibleMs = this.stored.get(key);
          expect(visibleMs, `${key} is held or stored`).toBeDefined();
          if (searchable) expect(visibleMs, `${key} is held or found by a search`).toBeLessThanOrEqual(nowMs);
        }
      }
    }
  }

  /** Each watermark is true where it stands: every trace that was appended before it has a record before it, and so has its operation. */
  checkWatermarks(): number {
    const records = this.rig.feed();
    const told = new Set<string>();
    const operations = new Set<string>();
    let count = 0;
    for (const { traces, catalogue, watermark } of records) {
      for (const { traceId } of traces) told.add(traceId);
      for (const { operation } of catalogue) operations.add(operation);
      if (!watermark) continue;
      count++;
      for (const { traceId, partition, unixNano, key } of this.appended) {
        if (partition !== watermark.partition || unixNano >= watermark.watermarkUnixNano) continue;
        expect(told.has(traceId), `${traceId} is told of before the watermark`).toBe(true);
        const operation = `operation-${Number.parseInt(key.split('/')[1]!, 16)}`;
        expect(operations.has(operation), `${operation} is told of before the watermark`).toBe(true);
      }
    }
    return count;
  }

  /** Everything is read by the group's owners, and all is closed. */
  async finish(): Promise<void> {
    for (let partition = 0; partition < PARTITIONS; partition++) {
      const current = this.ownerships.findLast((one) => one.partition === partition)!;
      for (const zombie of this.ownerships.filter((one) => one.partition === partition && one !== current)) {
        this.#close(zombie, 'lost');
      }
      await this.group.deliver(current, 1_000);
    }
    await this.rig.pass(1_000, 50);
    for (const one of this.ownerships) this.#close(one, 'revoked');
    await this.#settle();
  }

  async checkEnd(): Promise<void> {
    const blocks = await this.rig.blocks();
    expect(new Set(blocks.map(({ id }) => id)).size).toBe(blocks.length);
    const inBlocks = blocks.flatMap(({ segments }) => segments).flatMap(({ payload }) => spanKeysOf(payload));
    expect(new Set(inBlocks)).toEqual(new Set(this.appended.map(({ key }) => key)));
    const index = new Map<string, TraceMetadata>();
    for (const trace of this.rig.feed().flatMap(({ traces }) => traces)) {
      const known = index.get(trace.traceId);
      index.set(trace.traceId, known ? joinMetadata(known, trace) : trace);
    }
    for (const [traceId, metadata] of index) {
      const spans = this.appended.filter((one) => one.traceId === traceId);
      expect(metadataCounts(metadata).spanCount, traceId).toBe(spans.length);
    }
    expect(this.rig.fatal).toEqual([]);
  }
}

describe('partitions that change hands', () => {
  test('paused processes, other cuts, hand-overs: every watermark and every claim is true, nothing is lost or counts twice', async () => {
    let watermarks = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 60 }), async (steps) => {
        const world = new World();
        await world.start();
        for (const one of steps) {
          await world.run(one);
          await world.checkClaims();
        }
        await world.finish();
        await world.checkClaims();
        await world.checkEnd();
        watermarks += world.checkWatermarks();
      }),
      { numRuns: 40 },
    );
    expect(watermarks).toBeGreaterThan(100);
  }, 60_000);
});
