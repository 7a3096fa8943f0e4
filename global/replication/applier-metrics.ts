import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { RegionId } from '../model/ids.js';

/** What gauges ask for when they are read. */
interface Reports {
  readonly lags: () => { source: RegionId; lagMs: number }[];
  readonly vouched: () => { source: RegionId; fromMs: number }[];
}

/** Who reports into a registry: the newest applier of it. */
const reporters = new WeakMap<Registry, Reports>();

/** The applier's metrics in a registry; the same ones where they are there already (a rebuild starts a new applier). */
export function applierMetrics(registry: Registry, reports: Reports) {
  reporters.set(registry, reports);
  const counter = (name: string, help: string): Counter =>
    (registry.getSingleMetric(name) as Counter | undefined) ?? new Counter({ name, help, registers: [registry] });
  const lagName = 'meridian_applier_watermark_lag_seconds';
  if (!registry.getSingleMetric(lagName)) {
    const gauge: Gauge = new Gauge({
      name: lagName,
      help: 'Age of the oldest watermark of a source region in the index',
      labelNames: ['source'],
      registers: [registry],
      collect: () => {
        // Sources of which nothing is owned here any more would stand still.
        gauge.reset();
        for (const { source, lagMs } of reporters.get(registry)?.lags() ?? []) gauge.set({ source }, lagMs / 1000);
      },
    });
  }
  const vouchedName = 'meridian_applier_vouched_from_seconds';
  if (!registry.getSingleMetric(vouchedName)) {
    const gauge: Gauge = new Gauge({
      name: vouchedName,
      help: 'Unix time from which on the index has all of a source region; 0 is all there ever was. Traces that began earlier are asked for everywhere',
      labelNames: ['source'],
      registers: [registry],
      collect: () => {
        gauge.reset();
        for (const { source, fromMs } of reporters.get(registry)?.vouched() ?? []) gauge.set({ source }, fromMs / 1000);
      },
    });
  }
  const delayName = 'meridian_applier_delay_seconds';
  const delaySeconds =
    (registry.getSingleMetric(delayName) as Histogram | undefined) ??
    new Histogram({
      name: delayName,
      help: 'From a feed record standing in the log of this region (of its source, where MirrorMaker brought it) to its being in the index',
      buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30],
      registers: [registry],
    });
  return {
    records: counter('meridian_applier_records_total', 'Feed records that were applied'),
    poison: counter('meridian_applier_poison_total', 'Feed records that were put aside'),
    retries: counter('meridian_applier_retries_total', 'Attempts that failed and were repeated'),
    delaySeconds,
  };
}
