import { operationsRoute, servicesRoute } from './catalogue-routes.js';
import { fleetRoute } from './fleet-routes.js';
import type { Route } from './route.js';
import { dependenciesRoute, searchRoute } from './search-routes.js';
import { indexRoute, traceRoute } from './trace-routes.js';

/** Every route of the query API. */
export const ROUTES: readonly Route[] = [
  traceRoute,
  searchRoute,
  indexRoute,
  fleetRoute,
  servicesRoute,
  operationsRoute,
  dependenciesRoute,
];
