import type { LogSubscription } from '../../../global/log/span-log.js';
import { GROUPS, TOPICS } from '../../../global/log/topics.js';
import type { TraceId } from '../../../global/model/ids.js';
import { compareSearchPositions } from '../../../global/model/query.js';
import type { MissingPart } from '../../../global/region-api/region-client.js';
import { MeridianError } from '../../../global/runtime/errors.js';
import { silentLogger } from '../../../global/runtime/logger.js';
import type { LivePeer } from '../../api/live-peer.js';
import { LivePeers } from '../../api/live-peers.js';
import { PeeredLive } from '../../api/peered-live.js';
import { RegionReads } from '../../api/region-reads.js';
import { decodeBlock, readEncodedBlock } from '../../segments/block-codec.js';
import type { Segment } from '../../segments/segment.js';
import type { SegmentStoreReader, SegmentStoreSearch } from '../../store/segment-store.js';
import type { Assembler } from '../assembler.js';
import { HOME, Rig, turns } from './rig.js';
import { spanKeysOf, type TestSpan } from './spans.js';

/** Partitions of `spans`; three processes share them. */
const PARTITIONS = { spans: 4, segments: 2, traceMetadata: 1 };
const NAMES = ['a', 'b', 'c', 'd'];

export interface RegionProcess {
  readonly name: string;
  readonly assembler: Assembler;
  readonly reads: RegionReads;
  /** As a kill does: nothing more is done, said or answered. Its partitions are nobody's until `expire` is called. */
  kill(): { expire(): void };
  /** As an orderly stop does: the assembler first, then its part of the region API. */
  stop(): Promise<void>;
}

export interface WholeRead {
  /** `trace/span` of what was found. */
  readonly keys: ReadonlySet<string>;
  readonly missing: readonly MissingPart[];
}

/** Processes of one region on one log, a store behind a writer that lags, and a client that remembers what was acknowledged. */
export class RegionWorld {
  readonly rig = new Rig({
    partitions: PARTITIONS,
    limits: { settleMs: 200, idleMs: 600, commitMs: 100, blockMs: 100, blockSegmentsMax: 4, storeRefreshMs: 300 },
  });
  /** `trace/span`, with the time of its acknowledgement. */
  readonly acknowledged = new Map<string, number>();
  readonly alive = new Map<string, RegionProcess>();
  readonly #peers = new Map<string, LivePeer>();
  readonly #stored: { readonly segment: Segment; readonly atMs: number }[] = [];
  /** Of the writer, by partition of `segments`. */
  readonly #commits = new Array<number>(PARTITIONS.segments).fill(0);

  readonly #ghost: LogSubscription = {
    group: GROUPS.assembler,
    topics: [TOPICS.spans],
    from: 'earliest',
    batchBytesMax: 1,
    assigned: () => {
      throw new Error('a member without a process was given a partition');
    },
  };

  async start(name: string): Promise<RegionProcess> {
    const session = this.rig.session();
    const assembler = this.rig.assembler({ log: session });
    const { live } = assembler;
    const { clock } = this.rig;
    let isGone = false;
    const say = async <T>(ask: () => Promise<T>) => {
      if (isGone) throw new MeridianError('unavailable', `connect ECONNREFUSED ${name}:1`, 'later');
      const partitions = live.partitions(HOME);
      return { found: await ask(), process: name, partitions };
    };
    this.#peers.set(`${name}:1`, {
      address: `${name}:1`,
      getLive: (source, traceId) => say(() => live.get(source, traceId)),
      searchLive: (request) => say(() => live.search(request)),
      close: () => {},
    });
    const gone: LivePeer['getLive'] = () =>
      Promise.reject(new MeridianError('unavailable', 'connect ECONNREFUSED', 'later'));
    const peers = new LivePeers({
      peers: NAMES.map((other) => `${other}:1`),
      connect: (address) => ({
        address,
        getLive: (...asked) => (this.#peers.get(address)?.getLive ?? gone)(...asked),
        searchLive: async (...asked) => {
          const peer = this.#peers.get(address);
          if (!peer) throw new MeridianError('unavailable', 'connect ECONNREFUSED', 'later');
          return peer.searchLive(...asked);
        },
        close: () => {},
      }),
      clock,
      logger: silentLogger,
    });
    const peered = new PeeredLive({
      region: HOME,
      live,
      process: name,
      peers,
      partitionCount: PARTITIONS.spans,
      clock,
      takeoverMs: 12_000,
    });
    const index = { locate: () => Promise.resolve([]), watermarks: () => Promise.resolve([]) };
    const reads = new RegionReads({ region: HOME, store: this.#store(), live, peered, index, clock });
    const leave = () => {
      isGone = true;
      this.alive.delete(name);
    };
    const process: RegionProcess = {
      name,
      assembler,
      reads,
      kill: () => {
        leave();
        session.kill();
        // The last to join stays in its place, so that the partitions of the others stay where they are.
        const ghost = { subscription: this.#ghost, leaving: false };
        this.rig.memory.join(ghost);
        return { expire: () => this.rig.memory.leave(ghost) };
      },
      stop: async () => {
        await this.#moving(assembler.stop());
        leave();
      },
    };
    await this.#moving(assembler.start());
    this.alive.set(name, process);
    return process;
  }

  append(spans: readonly TestSpan[]): void {
    this.rig.append(spans);
    for (const { traceId, spanId } of spans) {
      this.acknowledged.set(`${traceId}/${spanId}`, this.rig.clock.monotonicMs());
    }
  }

  /** The writer takes up to so many records of each partition. */
  async write(records: number): Promise<void> {
    for (let partition = 0; partition < PARTITIONS.segments; partition++) {
      const from = this.#commits[partition]!;
      const next = this.rig.memory.records(TOPICS.segments, partition).slice(from, from + records);
      for (const { value } of next) {
        const atMs = this.rig.clock.monotonicMs();
        const { segments } = await decodeBlock(readEncodedBlock(Buffer.from(value)));
        this.#stored.push(...segments.map((segment) => ({ segment, atMs })));
      }
      this.#commits[partition] = from + next.length;
      if (next.length > 0) {
        this.rig.memory.commitsOf(GROUPS.writer, TOPICS.segments)[partition] = from + next.length;
      }
    }
  }

  /** Reads each trace at one process. */
  async read(process: RegionProcess, traces: readonly TraceId[]): Promise<WholeRead> {
    const answers = await this.#moving(
      Promise.all(traces.map((traceId) => process.reads.getTrace({ source: HOME, traceId, blocks: [], bytesMax: 0 }))),
    );
    const keys = answers.flatMap(({ segments }) => segments).flatMap(({ payload }) => spanKeysOf(payload));
    return { keys: new Set(keys), missing: answers.flatMap(({ missing }) => missing) };
  }

  /** The traces that a search for all finds. */
  async search(process: RegionProcess): Promise<{ traces: ReadonlySet<string>; missing: readonly MissingPart[] }> {
    const query = { attributes: [], startUnixNanoMin: 0n, startUnixNanoMax: 1n << 63n };
    const { matches, missing } = await this.#moving(
      process.reads.search({ query, source: HOME, after: null, limit: 1_000 }, new AbortController().signal),
    );
    return { traces: new Set(matches.map(({ position }) => position.traceId)), missing };
  }

  /** What was acknowledged longer ago than that. */
  due(olderThanMs: number): string[] {
    const nowMs = this.rig.clock.monotonicMs();
    return [...this.acknowledged].filter(([, atMs]) => nowMs - atMs > olderThanMs).map(([key]) => key);
  }

  async #moving<T>(what: Promise<T>): Promise<T> {
    let isDone = false;
    void what.finally(() => {
      isDone = true;
    });
    for (let i = 0; !isDone; i++) {
      if (i > 2_000) throw new Error('it never ended');
      await turns();
      if (!isDone && i > 2) await this.rig.clock.advance(10);
    }
    return what;
  }

  #store(): SegmentStoreReader & SegmentStoreSearch {
    return {
      get: async (_source, traceId) =>
        this.#stored.filter(({ segment }) => segment.metadata.traceId === traceId).map(({ segment }) => segment),
      search: async () => {
        const nowMs = this.rig.clock.monotonicMs();
        const visible = this.#stored.filter(({ atMs }) => nowMs - atMs >= 300);
        const matches = visible
          .map(({ segment: { metadata } }) => ({
            position: { startUnixNano: metadata.startUnixNano, traceId: metadata.traceId },
            metadata,
          }))
          .sort((a, b) => compareSearchPositions(a.position, b.position));
        return { matches, next: null };
      },
    };
  }
}
