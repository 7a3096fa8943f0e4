import { MeridianError } from '../../global/runtime/errors.js';
import { leavesGap } from '../fanout/outcome.js';
import { queryDependencies } from '../query/dependencies-query.js';
import { requestBudget } from '../query/query-context.js';
import { querySearch } from '../query/search-query.js';
import type { TraceSummary } from '../search/known-trace.js';
import { DEADLINE, PARTIAL, readCommon } from './common-parameters.js';
import { makeProblem, sendProblem } from './problem.js';
import { type Route, type RouteCall, sendJson } from './route.js';
import { readSearch, readWindow, SEARCH_PARAMETERS, WINDOW_PARAMETERS } from './search-parameters.js';
import { setCompleteness } from './trace-routes.js';

export const searchRoute: Route = {
  path: '/v1/traces',
  operationId: 'searchTraces',
  summary: 'Traces with a matching span, newest first, in one order over all regions',
  pathParameters: [],
  parameters: SEARCH_PARAMETERS,
  answers: { 'application/json': 'SearchPage' },
  problems: [503],
  handle: handleSearch,
};

export const dependenciesRoute: Route = {
  path: '/v1/dependencies',
  operationId: 'getDependencies',
  summary: 'Which service calls which, counted on the newest traces of the window',
  pathParameters: [],
  parameters: [...WINDOW_PARAMETERS, PARTIAL, DEADLINE],
  answers: { 'application/json': 'Dependencies' },
  problems: [503],
  handle: handleDependencies,
};

async function handleSearch({ request, response, values, context, deadlineMsDefault, signal }: RouteCall) {
  const { partial, deadlineMs, explain } = readCommon(values, deadlineMsDefault);
  const search = readSearch(values, context.fleet, context.clock.nowUnixNano());
  const answer = await querySearch(context, search, requestBudget(context, deadlineMs, signal));
  setCompleteness(response, answer.complete, answer.outcomes);
  if (!answer.complete) context.metrics.partial(searchRoute.path);
  if (answer.nothingAsked || (partial === 'refuse' && !answer.complete)) {
    const missing = answer.outcomes.filter(leavesGap).map((o) => `${o.region}: ${o.reason ?? o.state}`);
    const what = answer.nothingAsked ? 'no region could be asked' : 'the answer would be partial';
    const why = missing.length > 0 ? missing.join('; ') : answer.warnings.map((w) => w.message).join('; ');
    const members = { instance: request.path, complete: false, regions: answer.outcomes };
    sendProblem(
      response,
      makeProblem(new MeridianError('unavailable', `searching: ${what} (${why})`, 'later'), members),
    );
    return;
  }
  sendJson(response, {
    traces: answer.traces.map(summaryJson),
    nextCursor: answer.nextCursor,
    complete: answer.complete,
    regions: answer.outcomes,
    warnings: answer.warnings,
    ...(explain ? { explain: { plan: answer.plan } } : {}),
  });
}

export function summaryJson(summary: TraceSummary): object {
  return {
    traceId: summary.traceId,
    root: summary.root,
    startTimeUnixNano: String(summary.startUnixNano),
    durationNano: String(summary.durationNano),
    spanCount: summary.spanCount,
    errorCount: summary.errorCount,
    countsAtLeast: summary.countsAtLeast || undefined,
    services: summary.services,
    regions: summary.regions,
  };
}

async function handleDependencies({ request, response, values, context, deadlineMsDefault, signal }: RouteCall) {
  const { partial, deadlineMs } = readCommon(values, deadlineMsDefault);
  const window = readWindow(values, context.clock.nowUnixNano());
  const answer = await queryDependencies(context, window, requestBudget(context, deadlineMs, signal));
  setCompleteness(response, answer.complete, answer.outcomes);
  if (answer.nothingAsked || (partial === 'refuse' && !answer.complete)) {
    const detail = 'counting calls between services: a region is missing, or the deadline came first';
    const members = { instance: request.path, regions: answer.outcomes };
    sendProblem(response, makeProblem(new MeridianError('unavailable', detail, 'later'), members));
    return;
  }
  sendJson(response, {
    dependencies: answer.dependencies,
    traceCount: answer.traceCount,
    traceCountMax: context.limits.dependencyTracesMax,
    complete: answer.complete,
    regions: answer.outcomes,
    warnings: answer.warnings,
  });
}
