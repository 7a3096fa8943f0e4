import { isoTime } from '../fanout/fetch-trace.js';
import { queryFleet } from '../query/fleet-query.js';
import { type Route, type RouteCall, sendJson } from './route.js';

export const fleetRoute: Route = {
  path: '/v1/fleet',
  operationId: 'getFleet',
  summary: 'The regions, their state and their links, as this router sees them',
  pathParameters: [],
  parameters: [],
  answers: { 'application/json': 'Fleet' },
  problems: [],
  handle: handleFleet,
};

async function handleFleet({ response, context }: RouteCall): Promise<void> {
  const fleet = queryFleet(context);
  sendJson(response, {
    ...fleet,
    regions: fleet.regions.map((region) => ({
      ...region,
      parts: region.parts.map(({ sinceMs, ...part }) => ({
        ...part,
        ...(sinceMs === undefined ? {} : { since: isoTime(sinceMs) }),
      })),
    })),
  });
}
