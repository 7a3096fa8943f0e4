import { Counter, Gauge, type Registry } from 'prom-client';
import { SPOOL_CLASSES, type SpoolClass } from './spool-class.js';
import type { SpoolReport } from './spool-health.js';

const name = (rest: string) => `meridian_collector_spool_${rest}`;

/** The spool's own figures (Ob1). Registering twice in one registry is an error of prom-client. */
export class SpoolMetrics {
  readonly #dropped: Counter<'class'>;
  readonly #replayed: Counter;
  readonly #unreplayable: Counter;
  readonly #refused: Counter<'reason'>;
  readonly #droppedSpans = SPOOL_CLASSES.map(() => 0);

  constructor(registry: Registry, report: () => SpoolReport) {
    const registers = [registry];
    const gauge = (rest: string, help: string, of: (report: SpoolReport) => number) =>
      new Gauge({
        name: name(rest),
        help,
        registers,
        collect() {
          this.set(of(report()));
        },
      });
    gauge('bytes', 'Bytes of the spool on disk', ({ spool }) => spool.bytes);
    gauge('bytes_max', 'Bytes that the spool may have', ({ bytesMax }) => bytesMax);
    gauge('records', 'Records in the spool that the log does not have yet', ({ spool }) => spool.records);
    gauge('oldest_age_seconds', 'Age of the oldest record in the spool; 0 for none', ({ spool, nowMs }) =>
      spool.oldestMs === null ? 0 : Math.max(0, nowMs - spool.oldestMs) / 1000,
    );
    gauge('circuit_open', '1 while the log takes no spans and is only tried now and then', ({ isOpen }) =>
      Number(isOpen),
    );
    gauge('active', '1 while spans go to the spool or wait in it', ({ awaySinceMs }) => Number(awaySinceMs !== null));
    gauge('partitions_behind', 'Partitions whose new spans go behind spooled ones', (state) => state.partitionsBehind);
    new Gauge({
      name: name('spans'),
      help: 'Spans in the spool, by class',
      labelNames: ['class'],
      registers,
      collect() {
        for (const [i, spans] of report().spool.spans.entries()) this.set({ class: SPOOL_CLASSES[i]! }, spans);
      },
    });
    const counter = (rest: string, help: string) => new Counter({ name: name(rest), help, registers });
    this.#replayed = counter('replayed_spans_total', 'Spans that went from the spool to the log, repetitions included');
    this.#unreplayable = counter(
      'unreplayable_spans_total',
      'Spooled spans that are damaged, or that the log refuses for good',
    );
    this.#dropped = new Counter({
      name: name('dropped_spans_total'),
      help: 'Acknowledged spans given up for ones of a higher class when the spool was full, by class',
      labelNames: ['class'],
      registers,
    });
    for (const name of SPOOL_CLASSES) this.#dropped.inc({ class: name }, 0);
    this.#refused = new Counter({
      name: name('refused_total'),
      help: 'Records that the spool did not take, so that their senders were told to retry, by reason',
      labelNames: ['reason'],
      registers,
    });
  }

  /** By class, since the start. */
  get droppedSpans(): readonly number[] {
    return [...this.#droppedSpans];
  }

  dropped(spoolClass: SpoolClass, spanCount: number): void {
    this.#droppedSpans[spoolClass]! += spanCount;
    this.#dropped.inc({ class: SPOOL_CLASSES[spoolClass] }, spanCount);
  }

  replayed(spanCount: number): void {
    this.#replayed.inc(spanCount);
  }

  unreplayable(spanCount: number): void {
    this.#unreplayable.inc(spanCount);
  }

  refused(reason: string): void {
    this.#refused.inc({ reason });
  }
}
