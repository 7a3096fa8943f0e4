import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { collectDefaultMetrics, Histogram, Registry } from 'prom-client';
import { indexMetrics } from '../../global/index/index-metrics.js';
import { applierMetrics } from '../../global/replication/applier-metrics.js';
import { packageRoot } from '../../global/runtime/package-root.js';
import { assemblerMetrics } from '../../regions/assembler/metrics.js';
import { Admission } from '../../regions/collector/admission.js';
import { CollectorMetrics } from '../../regions/collector/metrics.js';
import { LogMetrics } from '../../regions/log/log-metrics.js';
import { StoreMetrics } from '../../regions/store/store-metrics.js';
import { RouterMetrics } from '../../router/query/router-metrics.js';

/** The labels of a metric without those of its target; null where only its name is known. */
export type Metrics = ReadonlyMap<string, readonly string[] | null>;

/** Labels that Prometheus adds: its own, and that of our scrape configuration. */
export const TARGET_LABELS: readonly string[] = ['job', 'instance', 'home'];

/** Of Prometheus itself and of the exporter that looks at volumes (`engine` comes from its relabelling). */
const FOREIGN: readonly (readonly [string, readonly string[]])[] = [
  ['up', []],
  ['ALERTS', ['alertname', 'alertstate', 'severity']],
  ['node_filesystem_avail_bytes', ['device', 'fstype', 'mountpoint', 'engine']],
  ['node_filesystem_size_bytes', ['device', 'fstype', 'mountpoint', 'engine']],
];

/**
 * Every metric that a region or a router exports: those of the classes that can be made here with their labels, and the names in the
 * sources of the others (Elasticsearch's client, the writer, the links).
 */
export function exportedMetrics(): Metrics {
  const found = new Map<string, readonly string[] | null>(FOREIGN);
  for (const name of namesInSources()) found.set(name, null);
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  new CollectorMetrics(registry, new Admission({ inFlightBytesMax: 1, inFlightRequestsMax: 1 }));
  new LogMetrics(registry, { lag: () => [], members: () => [], queuedBytes: () => 0 });
  new StoreMetrics(registry, { bytes: 0 });
  new RouterMetrics(registry, []);
  assemblerMetrics(registry);
  indexMetrics(registry);
  applierMetrics(registry, { lags: () => [], vouched: () => [] });
  for (const metric of registry.getMetricsAsArray()) {
    const labels: unknown = Reflect.get(metric, 'labelNames');
    if (!Array.isArray(labels)) throw new Error('prom-client keeps the labels of a metric elsewhere now');
    found.set(metric.name, labels.map(String));
    if (metric instanceof Histogram) addHistogram(found, metric.name, labels.map(String));
  }
  return found;
}

/** The labels of a metric as a query names it; undefined where nothing exports it, null where its labels are not known. */
export function labelsOf(metrics: Metrics, name: string): readonly string[] | null | undefined {
  const exact = metrics.get(name);
  if (exact !== undefined) return exact;
  // A histogram of which only the name is known.
  return metrics.get(name.replace(/_(bucket|sum|count)$/, '')) === null ? null : undefined;
}

function addHistogram(found: Map<string, readonly string[] | null>, name: string, labels: readonly string[]): void {
  found.delete(name);
  found.set(`${name}_bucket`, [...labels, 'le']);
  found.set(`${name}_sum`, labels);
  found.set(`${name}_count`, labels);
}

/** Names as they stand in the sources: whole, or as a prefix `meridian_room_${name}` that a helper completes. */
function namesInSources(): Set<string> {
  const names = new Set<string>();
  for (const text of sources()) {
    for (const [, name] of text.matchAll(/'(meridian_[a-z0-9_]+[a-z0-9])'/g)) names.add(name!);
    const prefix = /`(meridian_[a-z0-9_]+_)\$\{/.exec(text)?.[1];
    if (!prefix) continue;
    for (const [, rest] of text.matchAll(/\b(?:name|counter|gauge|histogram)\(\s*'([a-z0-9_]+)'/g))
      names.add(`${prefix}${rest}`);
  }
  return names;
}

function sources(): string[] {
  const found: string[] = [];
  const walk = (folder: string) => {
    for (const entry of readdirSync(join(packageRoot, folder), { withFileTypes: true })) {
      const path = join(folder, entry.name);
      if (entry.isDirectory() && entry.name !== 'testing') walk(path);
      else if (/\.ts$/.test(entry.name) && !/(test|contract|testing|arbitrary)\.ts$/.test(entry.name)) {
        found.push(readFileSync(join(packageRoot, path), 'utf8'));
      }
    }
  };
  for (const room of ['global', 'regions', 'router']) walk(room);
  return found;
}
