import express, { type Express } from 'express';
import { MeridianError, messageOf } from '../../global/runtime/errors.js';
import type { HealthRoutesOptions } from '../../global/runtime/health-routes.js';
import { healthRoutes } from '../../global/runtime/health-routes.js';
import type { ReplayFrom, ReplayProgress } from '../replay.js';
import type { Snapshots } from '../store/snapshot-service.js';

export interface RegionMaintenance {
  replay(view: string, from: ReplayFrom): Promise<void>;
  replayProgress(): Promise<ReplayProgress>;
  /** Cuts, heals or delays the link from a region; for trying out what a bad network does. Throws `invalid` for an unknown region. */
  setLink(from: string, change: { cut?: boolean; delayMs?: number }): void;
  /** Of the store. */
  readonly snapshots: Pick<Snapshots, 'create' | 'status' | 'beginRestore'>;
  /** Compares the index with every peer's; resolves with a report per peer. */
  reconcile(): Promise<unknown>;
}

/**
 * The region's port for operators: health, metrics, and the maintenance that `meridian replay` and `meridian reconcile` ask for. It binds
 * to loopback unless it is told otherwise.
 */
export function adminApi(health: HealthRoutesOptions, maintenance: RegionMaintenance): Express {
  const app = express();
  app.disable('x-powered-by');
  app.use(healthRoutes(health));
  app.post('/control/replay', async (request, response) => {
    await answer(response, async () => {
      const { view, from } = request.query;
      if (typeof view !== 'string') throw new MeridianError('invalid', 'replay: "view" is missing', 'never');
      await maintenance.replay(view, parseReplayFrom(typeof from === 'string' ? from : 'earliest'));
      return maintenance.replayProgress();
    });
  });
  app.get('/control/replay', async (_request, response) => {
    await answer(response, () => maintenance.replayProgress());
  });
  app.post('/control/reconcile', async (_request, response) => {
    await answer(response, () => maintenance.reconcile());
  });
  app.post('/control/snapshots', async (_request, response) => {
    await answer(response, () => maintenance.snapshots.create());
  });
  app.get('/control/snapshots', async (_request, response) => {
    await answer(response, () => maintenance.snapshots.status());
  });
  app.post('/control/snapshots/restore', async (request, response) => {
    await answer(response, () => {
      const { to, name } = request.query;
      const toMs = typeof to === 'string' ? restoreTime(to) : null;
      return maintenance.snapshots.beginRestore({ toMs, ...(typeof name === 'string' ? { snapshot: name } : {}) });
    });
  });
  app.post('/control/links/:from', async (request, response) => {
    await answer(response, async () => {
      const { cut, delayMs } = request.query;
      if (delayMs !== undefined && !(typeof delayMs === 'string' && /^\d{1,5}$/.test(delayMs))) {
        throw new MeridianError('invalid', 'link: delayMs is no whole number below 100,000', 'never');
      }
      maintenance.setLink(request.params.from, {
        ...(cut === undefined ? {} : { cut: cut === 'true' }),
        ...(delayMs === undefined ? {} : { delayMs: Number(delayMs) }),
      });
      return { done: true };
    });
  });
  return app;
}

async function answer(response: express.Response, act: () => Promise<unknown>): Promise<void> {
  try {
    response.json(await act());
  } catch (error) {
    const code = error instanceof MeridianError ? error.code : 'unavailable';
    const status = code === 'invalid' ? 400 : code === 'refused' ? 409 : 500;
    response.status(status).json({ error: messageOf(error), code });
  }
}

function restoreTime(text: string): number {
  const from = parseReplayFrom(text);
  if (from.kind === 'time') return from.ms;
  throw new MeridianError('invalid', `restore: "${text.slice(0, 60)}" is no time`, 'never');
}

/** `earliest`, `offset:N`, Unix time (seconds or milliseconds by magnitude) or RFC 3339. Throws `invalid`. */
export function parseReplayFrom(text: string): ReplayFrom {
  if (text === 'earliest') return { kind: 'earliest' };
  const offset = /^offset:(\d{1,15})$/.exec(text);
  if (offset) return { kind: 'offset', offset: Number(offset[1]) };
  if (/^\d{1,15}$/.test(text)) {
    const number = Number(text);
    return { kind: 'time', ms: number < 1e11 ? number * 1000 : number };
  }
  const ms = Date.parse(text);
  if (!/^\d{4}-\d{2}-\d{2}/.test(text) || Number.isNaN(ms)) {
    throw new MeridianError(
      'invalid',
      `replay: "${text.slice(0, 60)}" is no time, no offset:N and not "earliest"`,
      'never',
    );
  }
  return { kind: 'time', ms };
}
