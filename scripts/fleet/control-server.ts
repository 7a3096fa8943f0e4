import express from 'express';
import { plaintext } from '../../global/runtime/channel-security.js';
import { realClock } from '../../global/runtime/clock.js';
import { MeridianError, messageOf } from '../../global/runtime/errors.js';
import { createHttpListener, type HttpListener } from '../../global/runtime/http-listener.js';

/** What `meridian stop` and `meridian start` ask of the running fleet. */
export interface FleetControl {
  startRegion(region: string): Promise<void>;
  stopRegion(region: string, kill: boolean): Promise<void>;
}

/** Loopback only, on a free port that endpoints.json tells. Answers 200 when done, 4xx with `{error}` where the request was wrong. */
export function createControlServer(fleet: FleetControl): HttpListener {
  const app = express();
  const act = (
    handle: (region: string, kill: boolean) => Promise<void>,
  ): express.RequestHandler<{ region: string }> => {
    return async (request, response) => {
      try {
        await handle(request.params.region, request.query.kill === 'true');
        response.json({ done: true });
      } catch (error) {
        const wrong = error instanceof MeridianError;
        response.status(wrong ? 409 : 500).json({ error: messageOf(error) });
      }
    };
  };
  app.post(
    '/regions/:region/start',
    act((region) => fleet.startRegion(region)),
  );
  app.post(
    '/regions/:region/stop',
    act((region, kill) => fleet.stopRegion(region, kill)),
  );
  return createHttpListener({
    name: 'fleet control',
    listen: { host: '127.0.0.1', port: 0 },
    handler: app,
    security: plaintext,
    clock: realClock,
    drainMs: 1000,
  });
}
