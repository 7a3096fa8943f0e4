import express from 'express';
import { plaintext } from '../../global/runtime/channel-security.js';
import { realClock } from '../../global/runtime/clock.js';
import { MeridianError, messageOf } from '../../global/runtime/errors.js';
import { createHttpListener, type HttpListener } from '../../global/runtime/http-listener.js';
import type { EngineAction, EngineStatus } from '../engines/local-engines.js';

/** What `meridian stop`, `meridian start` and `meridian engines` ask of the running fleet. */
export interface FleetControl {
  startRegion(region: string): Promise<void>;
  stopRegion(region: string, kill: boolean): Promise<void>;
  /** On an engine, e.g. `us-east-1/redis`. */
  actOnEngine(name: string, action: EngineAction): Promise<void>;
  /** Empty where the engines are embedded. */
  engines(): readonly EngineStatus[];
}

/** Loopback only, on a free port that endpoints.json tells. Answers 200 when done, 4xx with `{error}` where the request was wrong. */
export function createControlServer(fleet: FleetControl): HttpListener {
  const app = express();
  const answer = async (response: express.Response, act: () => Promise<void>) => {
    try {
      await act();
      response.json({ done: true });
    } catch (error) {
      // 409: it was asked for something that cannot be; 500: it was tried and failed.
      const wrong = error instanceof MeridianError && error.retry === 'never';
      response.status(wrong ? 409 : 500).json({ error: messageOf(error) });
    }
  };
  app.post('/regions/:region/start', (request, response) =>
    answer(response, () => fleet.startRegion(request.params.region)),
  );
  app.post('/regions/:region/stop', (request, response) =>
    answer(response, () => fleet.stopRegion(request.params.region, request.query.kill === 'true')),
  );
  for (const action of ['start', 'stop', 'kill'] as const) {
    app.post(`/engines/:region/:kind/${action}`, ({ params }, response) =>
      answer(response, () => fleet.actOnEngine(`${params.region}/${params.kind}`, action)),
    );
  }
  app.get('/engines', (_request, response) => {
    response.json({ engines: fleet.engines() });
  });
  return createHttpListener({
    name: 'fleet control',
    listen: { host: '127.0.0.1', port: 0 },
    handler: app,
    security: plaintext,
    clock: realClock,
    drainMs: 1000,
  });
}
