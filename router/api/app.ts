import { STATUS_CODES } from 'node:http';
import express, { type Express, type NextFunction, type Request, type Response } from 'express';
import type { Registry } from 'prom-client';
import { MeridianError } from '../../global/runtime/errors.js';
import { healthRoutes } from '../../global/runtime/health-routes.js';
import type { Logger } from '../../global/runtime/logger.js';
import type { QueryContext } from '../query/query-context.js';
import { openApiDocument } from './openapi.js';
import { readParameters } from './parameters.js';
import { makeProblem, problemOf, sendProblem } from './problem.js';
import type { Route } from './route.js';
import { type RouterLife, routerChecks } from './router-checks.js';
import { ROUTES } from './routes.js';

export interface AppOptions {
  readonly context: QueryContext;
  readonly deadlineMsDefault: number;
  /** Requests answered at a time; one more is told to come back. */
  readonly requestsMax: number;
  readonly life: RouterLife;
  readonly healthLimitMs: number;
  readonly logger: Logger;
  readonly registry: Registry;
}

/** The router's HTTP API as an express application, without a listener. */
export function createApp(options: AppOptions): Express {
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  app.set('query parser', false);
  const { context, life, registry, healthLimitMs } = options;
  app.use(
    healthRoutes({
      ready: () => life.state === 'up',
      checks: routerChecks(context),
      registry,
      clock: context.clock,
      checkLimitMs: healthLimitMs,
    }),
  );
  const load = { requests: 0 };
  for (const route of ROUTES) {
    const path = route.path.replaceAll(/\{(\w+)\}/g, ':$1');
    app.get(path, (request, response) => serve(route, request, response, options, load));
    app.all(path, (request, response) => methodNotAllowed(request, response));
  }
  const document = JSON.stringify(openApiDocument(ROUTES));
  app.get('/v1/openapi.json', (request, response) => {
    readParameters(request.url, []);
    response.type('application/json').send(document);
  });
  app.get('/', (_request, response) => {
    response.type('text/plain').send(POINTERS);
  });
  app.use((request: Request, response: Response) => {
    const detail = `nothing is served at ${request.path.slice(0, 200)}; see /v1/openapi.json`;
    sendProblem(response, makeProblem(new MeridianError('not-found', detail, 'never'), { instance: request.path }));
  });
  app.use((error: unknown, request: Request, response: Response, _next: NextFunction) => {
    fail(error, request, response, options.logger);
  });
  return app;
}

const POINTERS = `Meridian query router
/v1/openapi.json   the query API
/v1/traces         search
/v1/fleet          the regions
/healthz /readyz /health/deep /metrics
`;

async function serve(
  route: Route,
  request: Request,
  response: Response,
  { context, deadlineMsDefault, requestsMax, life, logger }: AppOptions,
  load: { requests: number },
): Promise<void> {
  const startedMs = context.clock.monotonicMs();
  const gone = new AbortController();
  load.requests++;
  response.once('close', () => {
    load.requests--;
    gone.abort();
    // 499: the caller went away before there was an answer (a convention of nginx).
    const code = response.headersSent ? response.statusCode : 499;
    context.metrics.request(route.path, code, (context.clock.monotonicMs() - startedMs) / 1000);
  });
  try {
    if (life.state !== 'up') throw new MeridianError('shutting-down', 'the router is stopping', 'later');
    if (load.requests > requestsMax) {
      throw new MeridianError('overloaded', `${requestsMax} requests are being answered already`, 'later');
    }
    const values = readParameters(request.url, route.parameters);
    await route.handle({ request, response, values, context, deadlineMsDefault, signal: gone.signal });
  } catch (error) {
    fail(error, request, response, logger);
  }
}

function methodNotAllowed(request: Request, response: Response): void {
  response.setHeader('Allow', 'GET, HEAD');
  const error = new MeridianError('invalid', `${request.method} is not served at ${request.path}`, 'never');
  const problem = makeProblem(error, { status: 405, instance: request.path });
  sendProblem(response, { ...problem, title: STATUS_CODES[405] ?? problem.title });
}

function fail(error: unknown, request: Request, response: Response, logger: Logger): void {
  const problem = problemOf(error, request.path);
  if (problem.status >= 500 && problem.code === 'internal')
    logger.error({ err: error, path: request.path }, 'request failed');
  if (response.headersSent) {
    response.destroy();
    return;
  }
  sendProblem(response, problem);
}
