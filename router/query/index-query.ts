import { metadataCounts, servicesOf } from '../../global/index/join.js';
import type { FoldedPart, VouchedWatermark } from '../../global/index/trace-index.js';
import type { TraceId } from '../../global/model/ids.js';
import type { TraceMetadata } from '../../global/model/metadata.js';
import { unixNanoToMs } from '../../global/model/time.js';
import { MeridianError } from '../../global/runtime/errors.js';
import { planTrace, type TracePlan } from '../plan/trace-plan.js';
import { locateTrace, planInput, type QueryContext, type RequestBudget } from './query-context.js';

export interface IndexAnswer {
  readonly records: readonly TraceMetadata[];
  readonly folded: readonly FoldedPart[];
  readonly watermarks: readonly VouchedWatermark[];
  readonly plan: TracePlan;
}

/** What the index says of a trace and what would be done with it. `unavailable` where it cannot be read. */
export async function queryIndex(context: QueryContext, traceId: TraceId, budget: RequestBudget): Promise<IndexAnswer> {
  const location = await locateTrace(context, budget, traceId);
  if (!location) {
    throw new MeridianError('unavailable', `reading the index of ${context.home} for trace ${traceId} failed`, 'later');
  }
  const { records, folded = [], watermarks } = location;
  return { records, folded, watermarks, plan: planTrace(planInput(context, traceId, location)) };
}

/** As surface.md shows it. */
export function indexAnswerJson(traceId: TraceId, answer: IndexAnswer, nowMs: number): object {
  return {
    traceId,
    records: answer.records.map((record) => ({
      region: record.region,
      startTimeUnixNano: String(record.startUnixNano),
      endTimeUnixNano: String(record.endUnixNano),
      ...metadataCounts(record),
      root: record.root && { service: record.root.service, operation: record.root.operation },
      services: servicesOf(record),
      blocks: record.blocks.length > 0 ? record.blocks : undefined,
    })),
    folded: answer.folded.map(({ region, startUnixNanoMin, endUnixNanoMax }) => ({
      region,
      startTimeUnixNanoMin: String(startUnixNanoMin),
      endTimeUnixNanoMax: String(endUnixNanoMax),
    })),
    watermarks: answer.watermarks.map((w) => ({
      region: w.region,
      partition: w.partition,
      watermarkUnixNano: String(w.watermarkUnixNano),
      vouchedFromUnixNano: w.vouchedFromUnixNano === undefined ? undefined : String(w.vouchedFromUnixNano),
      lagMs: Math.max(0, nowMs - unixNanoToMs(w.watermarkUnixNano)),
    })),
    plan: answer.plan.regions.map(({ region, action, why, code }) => ({ region, action, why, code })),
  };
}
