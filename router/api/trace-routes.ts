import type { Response } from 'express';
import { parseTraceId, type TraceId } from '../../global/model/ids.js';
import { maxNano, minNano } from '../../global/model/time.js';
import { encodeOtlpJson } from '../../global/otlp/otlp-json-encode.js';
import { MeridianError } from '../../global/runtime/errors.js';
import { roundMs } from '../fanout/fetch-trace.js';
import { leavesGap, type RegionOutcome } from '../fanout/outcome.js';
import type { MergedTrace } from '../merge/merge-trace.js';
import { encodeTraceJson } from '../merge/trace-json.js';
import { indexAnswerJson, queryIndex } from '../query/index-query.js';
import { type QueryContext, requestBudget } from '../query/query-context.js';
import { mergeAnswer, queryTrace, readableAnswer, type TraceAnswer } from '../query/trace-query.js';
import { DEADLINE, EXPLAIN, PARTIAL, readCommon } from './common-parameters.js';
import type { ParameterSpec } from './parameters.js';
import { makeProblem, sendProblem } from './problem.js';
import { type Route, type RouteCall, sendJson } from './route.js';
import { sendChunks } from './send-chunks.js';

export const PROTOBUF = 'application/x-protobuf';
export const OTLP_JSON = 'application/otlp+json';

const TRACE_ID: ParameterSpec = {
  name: 'traceId',
  description: 'The trace id, 32 hexadecimal characters (or 16, for ids of 8 bytes)',
  schema: { type: 'string', pattern: '^([0-9a-fA-F]{16}|[0-9a-fA-F]{32})$' },
};

export const traceRoute: Route = {
  path: '/v1/traces/{traceId}',
  operationId: 'getTrace',
  summary: 'One trace, merged from all regions that hold a part of it',
  pathParameters: [TRACE_ID],
  parameters: [PARTIAL, DEADLINE, EXPLAIN],
  answers: { 'application/json': 'Trace', [PROTOBUF]: null, [OTLP_JSON]: 'OtlpTracesData' },
  problems: [404, 503],
  handle: handleTrace,
};

export const indexRoute: Route = {
  path: '/v1/index/{traceId}',
  operationId: 'getIndex',
  summary: 'What the index knows of a trace, and which regions would be asked or skipped, on what proof',
  pathParameters: [TRACE_ID],
  parameters: [DEADLINE],
  answers: { 'application/json': 'Index' },
  problems: [503],
  handle: handleIndex,
};

async function handleTrace({ request, response, values, context, deadlineMsDefault, signal }: RouteCall) {
  const { partial, deadlineMs, explain } = readCommon(values, deadlineMsDefault);
  const traceId = readTraceId(request.params.traceId);
  const format = request.accepts(['application/json', PROTOBUF, OTLP_JSON]) || 'application/json';
  const fetched = await queryTrace(context, traceId, requestBudget(context, deadlineMs, signal));
  const mergeStartedMs = context.clock.monotonicMs();
  // Objects are only built where JSON is asked for; the other two are made from the bytes.
  const { answer, merged } =
    format === 'application/json' ? mergeAnswer(context, fetched) : asBytes(context, fetched, format);
  if (refuse(answer, partial, request.path, response)) return;
  setCompleteness(response, answer.complete, answer.outcomes);
  if (!answer.complete) context.metrics.partial(traceRoute.path);
  response.setHeader('Vary', 'Accept');
  if (format === PROTOBUF) {
    response.setHeader('Content-Type', PROTOBUF);
    response.setHeader('Content-Length', String(answer.payloads.reduce((sum, p) => sum + p.payload.length, 0)));
    await sendChunks(
      response,
      answer.payloads.map((p) => p.payload),
    );
    return;
  }
  if (format === OTLP_JSON || merged === null) {
    response.setHeader('Content-Type', OTLP_JSON);
    await sendChunks(response, encodeOtlpJson(answer.payloads.map((p) => p.payload)));
    return;
  }
  const { head, tail } = traceMembers(answer, merged);
  const explained = explain
    ? { ...tail, explain: explainMembers(answer, context.clock.monotonicMs() - mergeStartedMs) }
    : tail;
  response.setHeader('Content-Type', 'application/json; charset=utf-8');
  await sendChunks(response, encodeTraceJson(head, merged.spans, explained));
}

/** For formats made from the bytes. OTLP JSON is written as it is sent, so whether it can be is found out before. */
function asBytes(context: QueryContext, fetched: TraceAnswer, format: string) {
  return { answer: format === OTLP_JSON ? readableAnswer(context, fetched) : fetched, merged: null };
}

/** The members of the native JSON before and after `spans`. Where no span came, times and root are the index's. */
function traceMembers(answer: TraceAnswer, merged: MergedTrace): { head: object; tail: object } {
  const records = answer.location?.records ?? [];
  const indexStart = records.length > 0 ? records.map((r) => r.startUnixNano).reduce(minNano) : 0n;
  const indexEnd = records.length > 0 ? records.map((r) => r.endUnixNano).reduce(maxNano) : 0n;
  const start = merged.startUnixNano ?? indexStart;
  const end = merged.endUnixNano ?? indexEnd;
  return {
    head: {
      traceId: answer.traceId,
      complete: answer.complete,
      regions: answer.outcomes,
      root: merged.root && {
        spanId: merged.root.view.spanId,
        service: merged.root.view.service,
        operation: merged.root.view.name,
      },
      startTimeUnixNano: String(start),
      durationNano: String(end > start ? end - start : 0n),
      spanCount: merged.spans.length,
      errorCount: merged.errorCount,
      services: merged.services,
    },
    tail: { warnings: [...answer.warnings, ...merged.warnings] },
  };
}

function explainMembers(answer: TraceAnswer, mergeMs: number): object {
  const { indexMs, regionsMs, joinMs } = answer.timings;
  return {
    plan: answer.plan.regions.map(({ region, action, code, why }) => ({ region, action, code, why })),
    timingsMs: { index: roundMs(indexMs), regions: roundMs(regionsMs), join: roundMs(joinMs), merge: roundMs(mergeMs) },
  };
}

async function handleIndex({ request, response, values, context, deadlineMsDefault, signal }: RouteCall) {
  const { deadlineMs } = readCommon(values, deadlineMsDefault);
  const traceId = readTraceId(request.params.traceId);
  const answer = await queryIndex(context, traceId, requestBudget(context, deadlineMs, signal));
  sendJson(response, indexAnswerJson(traceId, answer, context.clock.nowMs()));
}

/** Sends the problem where there can be no answer; true where it did. */
function refuse(answer: TraceAnswer, partial: 'warn' | 'refuse', instance: string, response: Response): boolean {
  const members = { instance, traceId: answer.traceId, complete: answer.complete, regions: answer.outcomes };
  if (answer.complete && answer.spanCount === 0) {
    const detail = `no region has a span of trace ${answer.traceId}`;
    sendProblem(response, makeProblem(new MeridianError('not-found', detail, 'later'), members));
    return true;
  }
  if (answer.nothingAsked || (partial === 'refuse' && !answer.complete)) {
    setCompleteness(response, false, answer.outcomes);
    const missing = answer.outcomes.filter(leavesGap).map((o) => `${o.region}: ${o.reason ?? o.state}`);
    const what = answer.nothingAsked ? 'no region could be asked' : 'the answer would be partial';
    const detail = `reading trace ${answer.traceId}: ${what} (${missing.join('; ')})`;
    sendProblem(response, makeProblem(new MeridianError('unavailable', detail, 'later'), members));
    return true;
  }
  return false;
}

/** Completeness for callers that get no JSON: `Meridian-Complete`, and the regions that are missing. */
export function setCompleteness(response: Response, complete: boolean, outcomes: readonly RegionOutcome[]): void {
  response.setHeader('Meridian-Complete', String(complete));
  const missing = outcomes.filter(leavesGap).map((o) => o.region);
  if (missing.length > 0) response.setHeader('Meridian-Missing-Regions', missing.join(','));
}

function readTraceId(text: unknown): TraceId {
  const traceId = typeof text === 'string' ? parseTraceId(text) : null;
  if (!traceId) {
    const shown = String(text).slice(0, 64);
    throw new MeridianError(
      'invalid',
      `"${shown}" is no trace id (32 or 16 hexadecimal characters, not all zero)`,
      'never',
    );
  }
  return traceId;
}
