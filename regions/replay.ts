import type { LogOffsets } from '../global/log/span-log.js';
import { MeridianError, messageOf } from '../global/runtime/errors.js';
import type { HealthCheck, Service } from '../global/runtime/service.js';

/** What makes a view, and says how it fares. */
export type ViewConsumer = Service & { health(): HealthCheck };

/** A view of the log that can be rebuilt: the consumer that makes it, and what it reads (Lo5). */
export interface ReplayableView {
  readonly name: string;
  readonly group: string;
  readonly topics: readonly string[];
  /** A new consumer; the former one has been stopped. */
  create(): ViewConsumer;
}

/** Where to begin: the oldest record, a wall-clock time, or an offset of every partition. */
export type ReplayFrom =
  | { readonly kind: 'earliest' }
  | { readonly kind: 'time'; readonly ms: number }
  | { readonly kind: 'offset'; readonly offset: number };

export interface ReplayProgress {
  readonly view: string | null;
  readonly done: boolean;
  readonly recordsDone: number;
  readonly recordsTotal: number;
  readonly error?: string;
}

interface Span {
  readonly topic: string;
  readonly partition: number;
  readonly from: number;
  readonly to: number;
}

/**
 * Runs the consumers of the views, and rebuilds a view on request: stops its consumer, rewinds its group, starts a new one. The
 * effects are idempotent, so what is read again changes nothing that is there, and restores what is not.
 */
export class ReplayableViews implements Service {
  readonly #views: ReadonlyMap<string, ReplayableView>;
  readonly #log: LogOffsets;
  readonly #running = new Map<string, ViewConsumer>();
  #current: { view: ReplayableView; spans: readonly Span[] } | null = null;
  #busy = false;
  #error: string | undefined;

  constructor(log: LogOffsets, views: readonly ReplayableView[]) {
    this.#log = log;
    this.#views = new Map(views.map((view) => [view.name, view]));
  }

  async start(): Promise<void> {
    for (const view of this.#views.values()) await this.#run(view);
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#running.values()].map((service) => service.stop()));
  }

  /** The service that makes the view now. */
  running(name: string): ViewConsumer | undefined {
    return this.#running.get(name);
  }

  /** Resolves when the view's new consumer has started; `progress` tells how far it is. Throws `refused` while another replay starts. */
  async replay(name: string, from: ReplayFrom): Promise<void> {
    const view = this.#views.get(name);
    if (!view)
      throw new MeridianError('invalid', `no view "${name}"; there are ${[...this.#views.keys()].join(', ')}`, 'never');
    if (this.#busy) throw new MeridianError('refused', `replay of ${name}: another replay is starting`, 'later');
    this.#busy = true;
    this.#error = undefined;
    try {
      await this.#running.get(name)?.stop();
      const spans: Span[] = [];
      for (const topic of view.topics) spans.push(...(await this.#rewind(view.group, topic, from)));
      this.#current = { view, spans };
    } catch (error) {
      this.#error = messageOf(error);
      throw error;
    } finally {
      await this.#run(view);
      this.#busy = false;
    }
  }

  /** Stops what makes the view, does the work, and runs it anew, however the work ends. Throws `refused` while a replay starts. */
  async whileStopped<T>(name: string, work: () => Promise<T>): Promise<T> {
    const view = this.#views.get(name);
    if (!view) throw new MeridianError('invalid', `no view "${name}"`, 'never');
    if (this.#busy) throw new MeridianError('refused', `stop of ${name}: a replay is starting`, 'later');
    this.#busy = true;
    try {
      await this.#running.get(name)?.stop();
      return await work();
    } finally {
      await this.#run(view);
      this.#busy = false;
    }
  }

  async progress(): Promise<ReplayProgress> {
    if (!this.#current) {
      return {
        view: null,
        done: !this.#busy,
        recordsDone: 0,
        recordsTotal: 0,
        ...(this.#error ? { error: this.#error } : {}),
      };
    }
    const { view, spans } = this.#current;
    let recordsDone = 0;
    let recordsTotal = 0;
    for (const topic of view.topics) {
      const committed = await this.#log.committed(view.group, topic);
      for (const { partition, from, to } of spans.filter((span) => span.topic === topic)) {
        recordsTotal += to - from;
        recordsDone += Math.max(0, Math.min(committed[partition] ?? from, to) - from);
      }
    }
    return { view: view.name, done: recordsDone >= recordsTotal, recordsDone, recordsTotal };
  }

  async #run(view: ReplayableView): Promise<void> {
    const service = view.create();
    this.#running.set(view.name, service);
    await service.start();
  }

  async #rewind(group: string, topic: string, from: ReplayFrom): Promise<Span[]> {
    const [starts, ends] = await Promise.all([this.#log.starts(topic), this.#log.ends(topic)]);
    const spans: Span[] = [];
    for (const [partition, start] of starts.entries()) {
      const wanted =
        from.kind === 'earliest'
          ? start
          : from.kind === 'offset'
            ? from.offset
            : await this.#log.offsetAt(topic, partition, from.ms);
      const end = ends[partition] ?? start;
      const target = Math.min(Math.max(wanted, start), end);
      await this.#log.rewind(group, topic, partition, target);
      spans.push({ topic, partition, from: target, to: end });
    }
    return spans;
  }
}
