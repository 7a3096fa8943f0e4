import { Counter, Histogram, type Registry } from 'prom-client';

export interface IndexMetrics {
  readonly appliedTraces: Counter;
  readonly changedRecords: Counter;
  readonly expiredRecords: Counter;
  readonly foldedRecords: Counter;
  readonly applySeconds: Histogram;
  readonly locateSeconds: Histogram;
}

/** The index's metrics in a registry; the same ones where they are there already. */
export function indexMetrics(registry: Registry): IndexMetrics {
  const counter = (name: string, help: string): Counter =>
    (registry.getSingleMetric(name) as Counter | undefined) ?? new Counter({ name, help, registers: [registry] });
  const histogram = (name: string, help: string, buckets: number[]): Histogram =>
    (registry.getSingleMetric(name) as Histogram | undefined) ??
    new Histogram({ name, help, buckets, registers: [registry] });
  return {
    appliedTraces: counter('meridian_index_applied_traces_total', 'Trace metadata given to the index'),
    changedRecords: counter('meridian_index_changed_records_total', 'Records that a join changed or added'),
    expiredRecords: counter('meridian_index_expired_records_total', 'Records that expired'),
    foldedRecords: counter('meridian_index_folded_records_total', 'Records that went into filters'),
    applySeconds: histogram(
      'meridian_index_apply_seconds',
      'One transaction of the index',
      [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1],
    ),
    locateSeconds: histogram(
      'meridian_index_locate_seconds',
      'One locate, whatever the number of ids',
      [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25],
    ),
  };
}
