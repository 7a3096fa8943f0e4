import { Counter, Gauge, type Registry } from 'prom-client';

/** Metrics of a cold tier. A registry holds those of one. */
export class ColdMetrics {
  readonly #registry: Registry;
  readonly #reads: Counter<'part'>;
  readonly #readBytes: Counter<'part'>;
  readonly #blocks: Counter;
  readonly #objects: Counter;
  readonly #bytes: Counter;
  readonly #unpackable: Counter;
  readonly #expired: Counter;

  constructor(registry: Registry) {
    this.#registry = registry;
    const registers = [registry];
    const counter = (name: string, help: string) => new Counter({ name, help, registers });
    const byPart = { labelNames: ['part'] as const, registers };
    this.#reads = new Counter({ name: 'meridian_cold_reads_total', help: 'Reads of parts of cold objects', ...byPart });
    this.#readBytes = new Counter({ name: 'meridian_cold_read_bytes_total', help: 'Bytes of those reads', ...byPart });
    this.#blocks = counter('meridian_cold_packed_blocks_total', 'Blocks moved from the hot store into cold objects');
    this.#objects = counter('meridian_cold_packed_objects_total', 'Cold objects written and verified');
    this.#bytes = counter('meridian_cold_packed_bytes_total', 'Bytes of those objects');
    this.#unpackable = counter(
      'meridian_cold_unpackable_blocks_total',
      'Blocks that could not be read and stay in the hot store',
    );
    this.#expired = counter('meridian_cold_expired_blocks_total', 'Blocks of cold objects removed by retention');
  }

  gauge(name: string, help: string, value: () => number): void {
    new Gauge({
      name,
      help,
      registers: [this.#registry],
      collect() {
        this.set(value());
      },
    });
  }

  read(part: string, bytes: number): void {
    this.#reads.inc({ part });
    this.#readBytes.inc({ part }, bytes);
  }

  wroteObject(bytes: number): void {
    this.#objects.inc();
    this.#bytes.inc(bytes);
  }

  moved(blocks: number): void {
    this.#blocks.inc(blocks);
  }

  unpackable(): void {
    this.#unpackable.inc();
  }

  expired(blocks: number): void {
    this.#expired.inc(blocks);
  }
}
