import type { RegionId } from '../../global/model/ids.js';
import { maxNano } from '../../global/model/time.js';
import { findValue, type KeyValueView } from '../../global/otlp/any-value.js';
import { type ResourceView, type SpanView, spanViews } from '../../global/otlp/span-view.js';
import { criticalPath, type SpanInterval } from './critical-path.js';
import type { MergeSpan, MergeWarning } from './merge-span.js';
import { correctSkew } from './skew.js';
import { buildTree } from './tree.js';

/** OTLP of one region, de-duplicated, in one piece or several. */
export interface RegionPayload {
  readonly region: RegionId;
  readonly payload: Buffer;
}

/** Spans of one region as objects. */
export interface RegionViews {
  readonly region: RegionId;
  readonly views: readonly SpanView[];
}

export interface ReadViews {
  readonly read: readonly RegionViews[];
  /** Regions whose bytes turned out to be no OTLP further down; nothing of theirs is in `read`. */
  readonly failed: ReadonlyMap<RegionId, unknown>;
  /** There were more spans than `spansMax`. */
  readonly cut: boolean;
}

/** Reads spans as objects, up to `spansMax` of them. One region's bad bytes cost only its own spans. */
export function readViews(parts: readonly RegionPayload[], spansMax: number): ReadViews {
  const byRegion = new Map<RegionId, SpanView[]>();
  const failed = new Map<RegionId, unknown>();
  let count = 0;
  let cut = false;
  for (const { region, payload } of parts) {
    if (failed.has(region)) continue;
    const views = byRegion.get(region) ?? [];
    byRegion.set(region, views);
    try {
      for (const view of spanViews(payload)) {
        if (count >= spansMax) {
          cut = true;
          break;
        }
        views.push(view);
        count++;
      }
    } catch (error) {
      failed.set(region, error);
      byRegion.delete(region);
      count -= views.length;
    }
  }
  return { read: [...byRegion].map(([region, views]) => ({ region, views })), failed, cut };
}

export interface MergedSpan {
  readonly view: SpanView;
  /** The region whose store or assembler it came from. */
  readonly region: RegionId;
  /** Corrected: the recorded start plus `skewNano`. */
  readonly startUnixNano: bigint;
  /** Corrected, and never before the start. */
  readonly endUnixNano: bigint;
  readonly skewNano: bigint;
  readonly depth: number;
  readonly onCriticalPath: boolean;
}

export interface ServiceTotal {
  readonly name: string;
  readonly spanCount: number;
  readonly errorCount: number;
}

export interface MergedTrace {
  /** By corrected start, then span id, then region. */
  readonly spans: readonly MergedSpan[];
  readonly root: MergedSpan | null;
  /** Of the spans, corrected; null where there are none. */
  readonly startUnixNano: bigint | null;
  readonly endUnixNano: bigint | null;
  readonly errorCount: number;
  /** In order of name. */
  readonly services: readonly ServiceTotal[];
  readonly warnings: readonly MergeWarning[];
}

/** Makes one trace of what the regions gave, already de-duplicated: tree, order, clock skew, critical path. Pure. */
export function mergeTrace(parts: readonly RegionViews[]): MergedTrace {
  const views = parts.flatMap((part) => part.views);
  const regions = parts.flatMap((part) => part.views.map(() => part.region));
  const warnings: MergeWarning[] = [];
  const clockKeyOf = clockKeys();
  let negative = 0;
  const inputs: MergeSpan[] = views.map((view, i) => {
    if (view.endUnixNano < view.startUnixNano) negative++;
    const region = regions[i]!;
    return {
      spanId: view.spanId,
      parentSpanId: view.parentSpanId,
      region,
      kind: view.kind,
      startUnixNano: view.startUnixNano,
      endUnixNano: maxNano(view.endUnixNano, view.startUnixNano),
      clockKey: clockKeyOf(view.resource, view.service, region),
    };
  });
  if (negative > 0) {
    const what = negative === 1 ? 'span ends before it starts' : 'spans end before they start';
    warnings.push({ code: 'negative-duration', message: `${negative} ${what}; the duration is taken as 0` });
  }
  const tree = buildTree(inputs);
  const skew = correctSkew(inputs, tree);
  warnings.push(...tree.warnings, ...skew.warnings);
  const intervals: SpanInterval[] = inputs.map((s, i) => ({
    startUnixNano: s.startUnixNano + skew.nano[i]!,
    endUnixNano: s.endUnixNano + skew.nano[i]!,
  }));
  const root = earliestTop(inputs, intervals, tree.tops, warnings);
  const walkFrom = root >= 0 ? root : earliest(tree.tops, intervals);
  const onPath = criticalPath(intervals, tree.children, walkFrom);

  const merged: MergedSpan[] = views.map((view, i) => ({
    view,
    region: regions[i]!,
    startUnixNano: intervals[i]!.startUnixNano,
    endUnixNano: intervals[i]!.endUnixNano,
    skewNano: skew.nano[i]!,
    depth: tree.depth[i]!,
    onCriticalPath: onPath[i] === 1,
  }));
  const rootSpan = root >= 0 ? merged[root]! : null;
  const totals = totalsOf(merged);
  merged.sort(compareMerged);
  return { spans: merged, root: rootSpan, ...totals, warnings };
}

/** Regions whose bytes cannot be read to the last attribute. Holds one span at a time. */
export function unreadableRegions(parts: readonly RegionPayload[]): ReadonlyMap<RegionId, unknown> {
  const failed = new Map<RegionId, unknown>();
  for (const { region, payload } of parts) {
    try {
      for (const _view of spanViews(payload)) {
        // Reading it is the check.
      }
    } catch (error) {
      failed.set(region, error);
    }
  }
  return failed;
}

/** Resource attributes that tell one clock from another. */
const CLOCK_ATTRIBUTES = ['service.instance.id', 'host.id', 'host.name', 'k8s.pod.uid', 'container.id'] as const;

function clockKeys(): (resource: ResourceView, service: string, region: RegionId) => string {
  const known = new Map<ResourceView, string>();
  return (resource, service, region) => {
    let key = known.get(resource);
    if (key === undefined) {
      const parts: string[] = CLOCK_ATTRIBUTES.map((name) => textOf(resource.attributes, name));
      key = [region, service, ...parts].join('\u0000');
      known.set(resource, key);
    }
    return key;
  };
}

function textOf(attributes: readonly KeyValueView[], key: string): string {
  const value = findValue(attributes, key);
  return value?.type === 'string' ? value.value : '';
}

/** The earliest span without a parent, or -1. */
function earliestTop(
  inputs: readonly MergeSpan[],
  intervals: readonly SpanInterval[],
  tops: readonly number[],
  warnings: MergeWarning[],
): number {
  const roots = tops.filter((i) => inputs[i]!.parentSpanId === null);
  if (roots.length > 1) {
    warnings.push({
      code: 'several-roots',
      message: `${roots.length} spans have no parent; the earliest is shown as root`,
    });
  }
  return earliest(roots, intervals);
}

function earliest(indices: readonly number[], intervals: readonly SpanInterval[]): number {
  let first = -1;
  for (const i of indices) {
    if (first < 0 || intervals[i]!.startUnixNano < intervals[first]!.startUnixNano) first = i;
  }
  return first;
}

function totalsOf(spans: readonly MergedSpan[]) {
  let startUnixNano: bigint | null = null;
  let endUnixNano: bigint | null = null;
  let errorCount = 0;
  const services = new Map<string, { name: string; spanCount: number; errorCount: number }>();
  for (const { view, startUnixNano: start, endUnixNano: end } of spans) {
    if (startUnixNano === null || start < startUnixNano) startUnixNano = start;
    if (endUnixNano === null || end > endUnixNano) endUnixNano = end;
    let total = services.get(view.service);
    if (!total) {
      total = { name: view.service, spanCount: 0, errorCount: 0 };
      services.set(view.service, total);
    }
    total.spanCount++;
    if (view.status.code === 2) {
      errorCount++;
      total.errorCount++;
    }
  }
  const byName = [...services.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  return { startUnixNano, endUnixNano, errorCount, services: byName };
}

function compareMerged(a: MergedSpan, b: MergedSpan): number {
  if (a.startUnixNano !== b.startUnixNano) return a.startUnixNano < b.startUnixNano ? -1 : 1;
  if (a.view.spanId !== b.view.spanId) return a.view.spanId < b.view.spanId ? -1 : 1;
  return a.region < b.region ? -1 : a.region > b.region ? 1 : 0;
}
