import { Counter, Gauge, type Registry } from 'prom-client';
import type { LinkReport } from './link-report.js';

const linksOf = new WeakMap<Registry, Set<LinkReport>>();

/** The metrics of links in a registry. The lag gauge asks every link that was given. */
export function linkMetrics(registry: Registry, link: LinkReport) {
  const links = linksOf.get(registry) ?? new Set<LinkReport>();
  links.add(link);
  linksOf.set(registry, links);
  const counter = (name: string, help: string): Counter =>
    (registry.getSingleMetric(name) as Counter | undefined) ??
    new Counter({ name, help, labelNames: ['source', 'topic'], registers: [registry] });
  const lagName = 'meridian_link_lag_seconds';
  if (!registry.getSingleMetric(lagName)) {
    const lag: Gauge = new Gauge({
      name: lagName,
      help: 'Age of the oldest record that is at the source and not here',
      labelNames: ['source'],
      registers: [registry],
      collect: () => {
        for (const { from, lagMs } of [...links].map((one) => one.status())) lag.set({ source: from }, lagMs / 1000);
      },
    });
  }
  return {
    records: counter('meridian_link_records_total', 'Records that were mirrored'),
    bytes: counter('meridian_link_bytes_total', 'Bytes of values that were mirrored'),
    reconnects: counter('meridian_link_reconnects_total', 'Connections to the source that ended'),
    gaps: counter('meridian_link_gaps_total', 'Places where offsets were missing at the source'),
  };
}
