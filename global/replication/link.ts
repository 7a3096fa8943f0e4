import { setMaxListeners } from 'node:events';
import type { Registry } from 'prom-client';
import type { LogAppender, LogOffsets, LogReads } from '../log/span-log.js';
import { TOPICS } from '../log/topics.js';
import type { RegionId } from '../model/ids.js';
import type { LinkStatus, RegionFeed } from '../region-api/region-client.js';
import type { Clock } from '../runtime/clock.js';
import type { ReachCrashPoint } from '../runtime/crash-points.js';
import { MeridianError } from '../runtime/errors.js';
import type { Logger } from '../runtime/logger.js';
import type { HealthCheck, Service } from '../runtime/service.js';
import { LINK_LIMITS, type LinkLimits } from './link-limits.js';
import { linkMetrics } from './link-metrics.js';
import type { LinkReport } from './link-report.js';
import { PartitionMirror } from './partition-mirror.js';

export interface LinkOptions {
  /** The region that is mirrored from. */
  readonly source: RegionId;
  readonly client: RegionFeed;
  /** The log of this region; the mirrored topics are there already, with the source's partitions. */
  readonly log: LogAppender & LogOffsets & LogReads;
  /** Topics of the source, by their names there. */
  readonly topics: readonly { readonly name: string; readonly partitions: number }[];
  readonly clock: Clock;
  readonly logger: Logger;
  readonly registry: Registry;
  readonly crash: ReachCrashPoint;
  /** From 0 to below 1, for jitter. */
  readonly random: () => number;
  readonly limits?: Partial<LinkLimits>;
}

/** The embedded mirror between two regions, seen from the region that receives. `start` does not wait for the source. */
export interface Link extends Service, LinkReport {
  /** Cuts the link: what is on the way is lost (and comes again after `heal`), nothing is connected until then. */
  cut(): void;
  heal(): void;
  /** Each batch that is received from now on is let through this many milliseconds later. */
  setDelayMs(delayMs: number): void;
}

/**
 * Makes a link: every partition of the topics is followed at the source, and its records are appended with their keys, values and
 * headers to `{source}.{topic}`, same partition, in order, at least once. Where it goes on after a restart stands in the mirrored records
 * (mirror-position.ts). Throws `configuration` for a topic that is a mirror itself: that would make cycles.
 */
export function createLink(options: LinkOptions): Link {
  for (const { name } of options.topics) {
    if (isMirrored(name)) {
      throw new MeridianError(
        'configuration',
        `link from ${options.source}: topic "${name}" is a mirror itself; mirroring it would go in circles`,
        'never',
      );
    }
  }
  return new PullLink(options);
}

function isMirrored(topic: string): boolean {
  const own: readonly string[] = Object.values(TOPICS);
  return !own.includes(topic) && own.some((name) => topic.endsWith(`.${name}`));
}

class PullLink implements Link {
  readonly #mirrors: PartitionMirror[] = [];
  readonly #limits: LinkLimits;
  readonly #stopped = new AbortController();
  #running: Promise<unknown> | null = null;
  #cut = false;
  #healed: () => void = () => {};
  #healing: Promise<void> = Promise.resolve();
  #state: LinkStatus['state'] = 'down';
  #sinceMs: number;

  constructor(private readonly options: LinkOptions) {
    const { source, topics, registry, clock } = options;
    this.#limits = { ...LINK_LIMITS, ...options.limits };
    this.#sinceMs = clock.nowMs();
    // Every partition listens to it.
    setMaxListeners(0, this.#stopped.signal);
    const metrics = linkMetrics(registry, this);
    for (const { name: topic, partitions } of topics) {
      const labels = { source, topic };
      for (let partition = 0; partition < partitions; partition++) {
        this.#mirrors.push(
          new PartitionMirror({
            ...options,
            topic,
            partition,
            limits: this.#limits,
            appended: (records, bytes) => {
              metrics.records.inc(labels, records);
              metrics.bytes.inc(labels, bytes);
            },
            reconnected: () => metrics.reconnects.inc(labels),
            gap: () => metrics.gaps.inc(labels),
          }),
        );
      }
    }
  }

  async start(): Promise<void> {
    const { signal } = this.#stopped;
    this.#running ??= Promise.all(this.#mirrors.map((mirror) => mirror.run(signal, () => this.#healing)));
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    this.#healed();
    await this.#running;
  }

  cut(): void {
    if (this.#cut) return;
    this.#cut = true;
    this.#healing = new Promise((resolve) => {
      this.#healed = resolve;
    });
    for (const mirror of this.#mirrors) mirror.disconnect('the link is cut');
  }

  heal(): void {
    this.#cut = false;
    this.#healed();
  }

  setDelayMs(delayMs: number): void {
    for (const mirror of this.#mirrors) mirror.delayMs = delayMs;
  }

  status(): LinkStatus {
    const lagMs = Math.max(0, ...this.#mirrors.map((mirror) => mirror.lagMs()));
    const connected = !this.#cut && this.#mirrors.every((mirror) => mirror.connected);
    const state = !connected ? 'down' : lagMs > this.#limits.behindMs ? 'behind' : 'up';
    if (state !== this.#state) {
      this.#state = state;
      this.#sinceMs = this.options.clock.nowMs();
    }
    return { from: this.options.source, lagMs, state };
  }

  health(): HealthCheck {
    const part = `link-${this.options.source}`;
    return {
      part,
      check: async () => {
        const { state, lagMs } = this.status();
        if (state === 'up') return { part, state: 'ok', sinceMs: this.#sinceMs };
        const problem = this.#mirrors.map((mirror) => mirror.problem).find((text) => text !== null);
        const detail = `${state}, ${Math.round(lagMs / 1000)} s behind${problem ? `: ${problem}` : ''}`;
        return { part, state: 'degraded', detail, sinceMs: this.#sinceMs };
      },
    };
  }
}
