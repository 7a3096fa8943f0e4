import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

/** What the gauges ask for when they are scraped. */
export interface LogMetricSources {
  /** Records between each group's commits and the ends, by group and topic. */
  lag(): readonly { readonly group: string; readonly topic: string; readonly records: number }[];
  members(): readonly { readonly group: string; readonly members: number }[];
  queuedBytes(): number;
}

/** The embedded log's metrics. One log per registry; `remove` takes them out again. */
export class LogMetrics {
  readonly #names: string[] = [];
  readonly #appendedRecords: Counter<'topic'>;
  readonly #appendedBytes: Counter<'topic'>;
  readonly #roundSeconds: Histogram;
  readonly #roundBytes: Histogram;
  readonly #roundRecords: Histogram;

  constructor(
    private readonly registry: Registry,
    sources: LogMetricSources,
  ) {
    const registers = [registry];
    const named = (name: string) => {
      this.#names.push(name);
      return name;
    };
    this.#appendedRecords = new Counter({
      name: named('meridian_log_appended_records_total'),
      help: 'Records that are durable',
      labelNames: ['topic'],
      registers,
    });
    this.#appendedBytes = new Counter({
      name: named('meridian_log_appended_bytes_total'),
      help: 'Bytes of durable records: keys, headers and values',
      labelNames: ['topic'],
      registers,
    });
    this.#roundSeconds = new Histogram({
      name: named('meridian_log_commit_seconds'),
      help: 'Time that a group commit took, from its first byte to its answer',
      buckets: [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1],
      registers,
    });
    this.#roundBytes = new Histogram({
      name: named('meridian_log_commit_bytes'),
      help: 'Bytes of a group commit',
      buckets: [1e3, 1e4, 1e5, 1e6, 4e6, 8e6],
      registers,
    });
    this.#roundRecords = new Histogram({
      name: named('meridian_log_commit_records'),
      help: 'Records of a group commit',
      buckets: [1, 4, 16, 64, 256, 1024],
      registers,
    });
    new Gauge({
      name: named('meridian_log_queued_bytes'),
      help: 'Bytes that wait for their commit',
      registers,
      collect() {
        this.set(sources.queuedBytes());
      },
    });
    new Gauge({
      name: named('meridian_log_group_members'),
      help: 'Members of a consumer group in this process',
      labelNames: ['group'],
      registers,
      collect() {
        for (const { group, members } of sources.members()) this.set({ group }, members);
      },
    });
    new Gauge({
      name: named('meridian_log_lag_records'),
      help: 'Records that a consumer group has not committed',
      labelNames: ['group', 'topic'],
      registers,
      collect() {
        for (const { group, topic, records } of sources.lag()) this.set({ group, topic }, records);
      },
    });
  }

  appended(topic: string, records: number, bytes: number): void {
    this.#appendedRecords.inc({ topic }, records);
    this.#appendedBytes.inc({ topic }, bytes);
  }

  round(ms: number, bytes: number, records: number): void {
    this.#roundSeconds.observe(ms / 1000);
    this.#roundBytes.observe(bytes);
    this.#roundRecords.observe(records);
  }

  remove(): void {
    for (const name of this.#names) this.registry.removeSingleMetric(name);
  }
}
