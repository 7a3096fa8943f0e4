import { msToUnixNano } from '../../global/model/time.js';
import { MeridianError } from '../../global/runtime/errors.js';
import { spanKindName } from '../merge/names.js';
import { askIndex, requestBudget } from '../query/query-context.js';
import { DEADLINE, readCommon } from './common-parameters.js';
import type { ParameterSpec } from './parameters.js';
import { type Route, type RouteCall, sendJson } from './route.js';

const SERVICE: ParameterSpec = { name: 'name', description: 'The service', schema: { type: 'string' } };

export const servicesRoute: Route = {
  path: '/v1/services',
  operationId: 'listServices',
  summary: 'Every service that was seen, with the regions where it was',
  pathParameters: [],
  parameters: [DEADLINE],
  answers: { 'application/json': 'Services' },
  problems: [503],
  handle: handleServices,
};

export const operationsRoute: Route = {
  path: '/v1/services/{name}/operations',
  operationId: 'listOperations',
  summary: 'The operations of a service',
  pathParameters: [SERVICE],
  parameters: [DEADLINE],
  answers: { 'application/json': 'Operations' },
  problems: [404, 503],
  handle: handleOperations,
};

async function readCatalogue({ context, values, deadlineMsDefault, signal }: RouteCall) {
  const { deadlineMs } = readCommon(values, deadlineMsDefault);
  const budget = requestBudget(context, deadlineMs, signal);
  const entries = await askIndex(context, budget, () => context.index.catalogue());
  if (!entries) throw new MeridianError('unavailable', `reading the catalogue of ${context.home} failed`, 'later');
  return entries;
}

async function handleServices(call: RouteCall): Promise<void> {
  const services = new Map<string, { regions: Set<string>; operations: Set<string>; lastSeenMs: number }>();
  for (const { service, operation, region, lastSeenMs } of await readCatalogue(call)) {
    const known = services.get(service) ?? { regions: new Set(), operations: new Set(), lastSeenMs: 0 };
    known.regions.add(region);
    known.operations.add(operation);
    known.lastSeenMs = Math.max(known.lastSeenMs, lastSeenMs);
    services.set(service, known);
  }
  sendJson(call.response, {
    services: [...services]
      .map(([name, { regions, operations, lastSeenMs }]) => ({
        name,
        regions: [...regions].sort(),
        operationCount: operations.size,
        lastSeenUnixNano: String(msToUnixNano(lastSeenMs)),
      }))
      .sort((a, b) => (a.name < b.name ? -1 : 1)),
  });
}

async function handleOperations(call: RouteCall): Promise<void> {
  const service = String(call.request.params.name);
  const operations = new Map<string, { name: string; kind: string; regions: Set<string>; lastSeenMs: number }>();
  for (const entry of await readCatalogue(call)) {
    if (entry.service !== service) continue;
    const key = `${entry.kind} ${entry.operation}`;
    const kind = spanKindName(entry.kind);
    const known = operations.get(key) ?? { name: entry.operation, kind, regions: new Set(), lastSeenMs: 0 };
    known.regions.add(entry.region);
    known.lastSeenMs = Math.max(known.lastSeenMs, entry.lastSeenMs);
    operations.set(key, known);
  }
  if (operations.size === 0) {
    throw new MeridianError('not-found', `no region has seen a service "${service.slice(0, 100)}"`, 'later');
  }
  sendJson(call.response, {
    service,
    operations: [...operations.values()]
      .map(({ name, kind, regions, lastSeenMs }) => ({
        name,
        kind,
        regions: [...regions].sort(),
        lastSeenUnixNano: String(msToUnixNano(lastSeenMs)),
      }))
      .sort((a, b) => (a.name === b.name ? (a.kind < b.kind ? -1 : 1) : a.name < b.name ? -1 : 1)),
  });
}
