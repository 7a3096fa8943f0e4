import { Counter, Gauge, type Registry } from 'prom-client';

/**
 * Metrics that several parts of a process share, told apart by a label (one writer per source region, say): the one of that name
 * in the registry, made where it is not there yet. A name that is taken by a metric of another kind is an error of prom-client.
 */
export function sharedCounter<L extends string>(
  registry: Registry,
  name: string,
  help: string,
  labelNames: readonly L[],
): Counter<L> {
  const known = registry.getSingleMetric(name);
  return known instanceof Counter
    ? known
    : new Counter({ name, help, labelNames: [...labelNames], registers: [registry] });
}

/** The same for gauges. */
export function sharedGauge<L extends string>(
  registry: Registry,
  name: string,
  help: string,
  labelNames: readonly L[],
): Gauge<L> {
  const known = registry.getSingleMetric(name);
  return known instanceof Gauge ? known : new Gauge({ name, help, labelNames: [...labelNames], registers: [registry] });
}
