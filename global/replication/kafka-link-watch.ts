import type { Registry } from 'prom-client';
import { type LogOffsets, type LogReads, mirroredTopic } from '../log/span-log.js';
import type { RegionId } from '../model/ids.js';
import type { LinkStatus } from '../region-api/region-client.js';
import type { Clock } from '../runtime/clock.js';
import { messageOf } from '../runtime/errors.js';
import type { Logger } from '../runtime/logger.js';
import type { HealthCheck, Service } from '../runtime/service.js';
import { linkMetrics } from './link-metrics.js';
import type { LinkReport } from './link-report.js';

export interface KafkaLinkLimits {
  /** How often the mirrored topics are looked at. */
  readonly pollMs: number;
  /** A source publishes in every partition that it uses at least once a second: after this long without a record there is one that is not here. */
  readonly expectMs: number;
  /** A lag beyond this is shown as `behind`. */
  readonly behindMs: number;
  /** Without a record for this long the link is shown as `down`. */
  readonly silentMs: number;
}

export const KAFKA_LINK_LIMITS: KafkaLinkLimits = { pollMs: 500, expectMs: 3_000, behindMs: 5_000, silentMs: 10_000 };

export interface KafkaLinkWatchOptions {
  /** The region that is mirrored from. */
  readonly source: RegionId;
  /** The log of this region, into which MirrorMaker mirrors. Records there have the source's times (`TopicSpec.mirrored`). */
  readonly log: LogOffsets & LogReads;
  /** The topic by whose records the lag is measured, by its name at the source: one in which a source that is idle publishes too. */
  readonly topic: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly registry: Registry;
  readonly limits?: Partial<KafkaLinkLimits>;
}

/** Watches what MirrorMaker brings from one source. `start` waits for nothing. */
export interface KafkaLinkWatch extends Service, LinkReport {}

/**
 * Measures a link by the records that came over it: how old the newest one of each partition was when it was seen here, and, when none comes, how
 * old it is by now. It compares the clocks of two regions: a source's clock that is ahead makes its lag look smaller.
 */
export function createKafkaLinkWatch(options: KafkaLinkWatchOptions): KafkaLinkWatch {
  return new TopicWatch(options);
}

interface Newest {
  readonly nextOffset: number;
  /** When the source's log took it. */
  readonly atSourceMs: number;
  /** How late it was at least. */
  readonly transitMs: number;
}

const CURE =
  'MirrorMaker has lost its place (what it was to read next was deleted): stop it, run `meridian mirror-prepare`, start it';

class TopicWatch implements KafkaLinkWatch {
  readonly #limits: KafkaLinkLimits;
  readonly #topic: string;
  readonly #metrics;
  readonly #newest = new Map<number, Newest>();
  /** Partitions that were seen without a record: their first one has come over the link since. */
  readonly #empty = new Set<number>();
  readonly #stopped = new AbortController();
  readonly #startedMs: number;
  #running: Promise<void> | null = null;
  #polledMs: number;
  /** When a record was last seen to come, and whether one has since the start. */
  #heardMs: number;
  #heard = false;
  #problem: string | null = null;
  #state: LinkStatus['state'] = 'down';
  #sinceMs: number;

  constructor(private readonly options: KafkaLinkWatchOptions) {
    const { source, topic, clock, registry } = options;
    this.#limits = { ...KAFKA_LINK_LIMITS, ...options.limits };
    this.#topic = mirroredTopic(source, topic);
    this.#metrics = linkMetrics(registry, this);
    this.#startedMs = clock.nowMs();
    this.#polledMs = this.#heardMs = this.#sinceMs = this.#startedMs;
  }

  async start(): Promise<void> {
    this.#running ??= this.#run(this.#stopped.signal);
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    await this.#running;
  }

  async #run(signal: AbortSignal): Promise<void> {
    const { clock, logger, source } = this.options;
    while (!signal.aborted) {
      try {
        await this.#poll();
        this.#problem = null;
      } catch (error) {
        // Once per trouble: the log of the region tells of its own.
        if (this.#problem === null) logger.warn({ source, err: error }, 'looking at what came over a link failed');
        this.#problem = messageOf(error);
      }
      await clock.sleep(this.#limits.pollMs, signal);
    }
  }

  async #poll(): Promise<void> {
    const { log, clock } = this.options;
    const polledMs = clock.nowMs();
    const ends = await log.ends(this.#topic);
    for (const [partition, end] of ends.entries()) {
      if (end === 0) this.#empty.add(partition);
      const before = this.#newest.get(partition)?.nextOffset ?? (this.#empty.has(partition) ? 0 : null);
      if (end === 0 || end === before) continue;
      const record = (await log.read(this.#topic, partition, end - 1, 1)).at(-1);
      if (!record) continue;
      const { offset, appendedMs } = record;
      // What was there before it was watched came whenever it came.
      const transitMs = before === null ? 0 : Math.max(0, this.#polledMs - appendedMs);
      this.#newest.set(partition, { nextOffset: offset + 1, atSourceMs: appendedMs, transitMs });
      if (before !== null) this.#hear(offset + 1 - before, polledMs);
    }
    this.#polledMs = polledMs;
    this.status();
  }

  #hear(records: number, nowMs: number): void {
    this.#heard = true;
    this.#heardMs = nowMs;
    // A topic that was made anew begins at 0 again.
    this.#metrics.records.inc({ source: this.options.source, topic: this.options.topic }, Math.max(0, records));
  }

  #lagMs(nowMs: number): number {
    // Nothing ever came: all that was published since the start is missing.
    if (this.#newest.size === 0) return nowMs - this.#startedMs;
    let lagMs = 0;
    for (const { atSourceMs, transitMs } of this.#newest.values()) {
      const ageMs = nowMs - atSourceMs;
      lagMs = Math.max(lagMs, ageMs > this.#limits.expectMs ? ageMs : transitMs);
    }
    return lagMs;
  }

  status(): LinkStatus {
    const nowMs = this.options.clock.nowMs();
    const lagMs = this.#lagMs(nowMs);
    const silent = !this.#heard || nowMs - this.#heardMs > this.#limits.silentMs;
    const state = silent ? 'down' : lagMs > this.#limits.behindMs ? 'behind' : 'up';
    if (state !== this.#state) {
      this.#state = state;
      this.#sinceMs = nowMs;
    }
    return { from: this.options.source, lagMs, state };
  }

  health(): HealthCheck {
    const part = `link-${this.options.source}`;
    return {
      part,
      check: async () => {
        const { state, lagMs } = this.status();
        const since = { part, sinceMs: this.#sinceMs };
        if (state === 'up') return { ...since, state: 'ok' };
        return { ...since, state: 'degraded', detail: this.#detail(state, lagMs) };
      },
    };
  }

  #detail(state: 'behind' | 'down', lagMs: number): string {
    const { source, clock } = this.options;
    const seconds = (ms: number) => `${Math.round(ms / 1000)} s`;
    const behind = `${state}, ${seconds(lagMs)} behind`;
    if (this.#problem !== null) return `${behind}: ${this.#problem}`;
    if (state === 'behind') {
      const [slowest] = [...this.#newest].sort(([, a], [, b]) => a.atSourceMs - b.atSourceMs)[0]!;
      return `${behind} in ${this.#topic}/${slowest}: MirrorMaker does not keep up, or ${CURE} (its other partitions go on)`;
    }
    const silence = seconds(clock.nowMs() - this.#heardMs);
    return `${behind}: nothing came from ${source} for ${silence}. ${source}, its Kafka or the MirrorMaker near this region is away, or ${CURE}`;
  }
}
