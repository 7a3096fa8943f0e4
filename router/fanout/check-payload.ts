import { type RegionId, type TraceId, traceIdBytes } from '../../global/model/ids.js';
import { forEachSpan } from '../../global/otlp/scan.js';
import { MeridianError } from '../../global/runtime/errors.js';

/**
 * Checks what a region sent for a trace: OTLP, with at least one span, of that trace only. Returns the number of spans; throws
 * `malformed` naming the region and what is wrong. Builds no objects.
 */
export function checkTracePayload(payload: Buffer, traceId: TraceId, region: RegionId): number {
  const id = traceIdBytes(traceId);
  let spanCount = 0;
  let other: string | null = null;
  try {
    forEachSpan(payload, ({ buffer, traceIdAt }) => {
      if (buffer.compare(id, 0, 16, traceIdAt, traceIdAt + 16) !== 0) {
        other = buffer.toString('hex', traceIdAt, traceIdAt + 16);
        return false;
      }
      spanCount++;
      return true;
    });
  } catch (error) {
    throw new MeridianError('malformed', `${region} answered with bytes that are no OTLP`, 'never', { cause: error });
  }
  if (other !== null) {
    throw new MeridianError(
      'malformed',
      `${region} was asked for trace ${traceId} and sent spans of ${other}`,
      'never',
    );
  }
  if (spanCount === 0) {
    throw new MeridianError('malformed', `${region} answered with ${payload.length} bytes that hold no span`, 'never');
  }
  return spanCount;
}
