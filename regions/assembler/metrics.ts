import type { Counter, Gauge, Registry } from 'prom-client';
import { sharedCounter, sharedGauge } from '../../global/runtime/shared-metrics.js';

/** The assembler's metrics. Several assemblers (one per source region) share them in one registry, told apart by the label `source`. */
export interface AssemblerMetrics {
  readonly spans: Counter<'source'>;
  readonly records: Counter<'source' | 'result'>;
  readonly closes: Counter<'source' | 'reason'>;
  readonly sampled: Counter<'source' | 'rule' | 'kept'>;
  readonly lateSegments: Counter<'source'>;
  readonly blocks: Counter<'source'>;
  readonly blockBytes: Counter<'source'>;
  readonly announcements: Counter<'source'>;
  readonly deadLetters: Counter<'source'>;
  readonly retries: Counter<'source' | 'what'>;
  readonly catalogueDropped: Gauge<'source'>;
  readonly openTraces: Gauge<'source'>;
  readonly openBytes: Gauge<'source'>;
  readonly heldSegments: Gauge<'source'>;
  readonly heldBytes: Gauge<'source'>;
  readonly watermarkLag: Gauge<'source'>;
}

export function assemblerMetrics(registry: Registry): AssemblerMetrics {
  const counter = <L extends string>(name: string, help: string, labelNames: L[]): Counter<L> =>
    sharedCounter(registry, `meridian_assembler_${name}`, help, labelNames);
  const gauge = <L extends string>(name: string, help: string, labelNames: L[]): Gauge<L> =>
    sharedGauge(registry, `meridian_assembler_${name}`, help, labelNames);
  return {
    spans: counter('spans_total', 'Spans read and assembled', ['source']),
    records: counter('records_total', 'Records of spans read, by result: assembled, repeated, malformed', [
      'source',
      'result',
    ]),
    closes: counter('closes_total', 'Traces closed, by reason', ['source', 'reason']),
    sampled: counter('sampled_total', 'Segments decided upon, by rule', ['source', 'rule', 'kept']),
    lateSegments: counter(
      'late_segments_total',
      'Traces that were opened again while an earlier segment was still held',
      ['source'],
    ),
    blocks: counter('blocks_total', 'Blocks appended', ['source']),
    blockBytes: counter('block_bytes_total', 'Bytes of blocks appended', ['source']),
    announcements: counter('announcements_total', 'Traces announced in the feed before they were closed', ['source']),
    deadLetters: counter('dead_letters_total', 'Records of spans that could not be read', ['source']),
    retries: counter('retries_total', 'Attempts repeated because the log was not available', ['source', 'what']),
    catalogueDropped: gauge('catalogue_dropped', 'Sightings of operations beyond the catalogue limits', ['source']),
    openTraces: gauge('open_traces', 'Traces that may still grow', ['source']),
    openBytes: gauge('open_bytes', 'Memory taken by open traces', ['source']),
    heldSegments: gauge('held_segments', 'Closed segments that the store is not known to have', ['source']),
    heldBytes: gauge('held_bytes', 'Bytes of their payloads in memory', ['source']),
    watermarkLag: gauge('watermark_lag_seconds', 'Age of the oldest watermark among the owned partitions', ['source']),
  };
}
