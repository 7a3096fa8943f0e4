import { randomBytes } from 'node:crypto';
import { MeridianError, messageOf } from '../../../global/runtime/errors.js';
import { type CommandContext, endpointsOf } from '../context.js';
import { ExitCode } from '../exit-codes.js';
import { makeKnownTrace } from '../known-trace.js';

export interface SendOptions {
  readonly data: string;
  readonly traces: string;
  readonly regions?: string;
  readonly rate?: string;
  readonly endpoint?: string;
}

/** `meridian send`: known cross-region traces by OTLP; prints a trace id per line once every part of it was acknowledged. */
export async function sendCommand(context: CommandContext, options: SendOptions): Promise<ExitCode> {
  const targets = options.endpoint ? [['all', options.endpoint] as const] : fleetTargets(options);
  const count = positive('--traces', options.traces);
  const perSecond = options.rate === undefined ? undefined : positive('--rate', options.rate.replace(/\/s$/, ''));
  for (let i = 0; i < count && !context.stop.aborted; i++) {
    const trace = makeKnownTrace({
      traceId: randomBytes(16).toString('hex'),
      regions: targets.map(([region]) => region),
      startUnixNano: BigInt(Date.now()) * 1_000_000n,
      spanId: () => randomBytes(8).toString('hex'),
    });
    await Promise.all(targets.map(([region, url]) => post(url, trace.bodies.get(region)!)));
    context.terminal.out(trace.traceId);
    if (perSecond && i + 1 < count) await new Promise((resolve) => setTimeout(resolve, 1000 / perSecond));
  }
  return ExitCode.done;
}

function fleetTargets(options: SendOptions): (readonly [string, string])[] {
  const { regions } = endpointsOf(options);
  const names = options.regions?.split(',').map((name) => name.trim()) ?? Object.keys(regions);
  return names.map((name) => {
    const region = regions[name];
    if (!region)
      throw new MeridianError(
        'invalid',
        `--regions: no region "${name}"; there are ${Object.keys(regions).join(', ')}`,
        'never',
      );
    return [name, region.otlpHttp] as const;
  });
}

async function post(url: string, body: object): Promise<void> {
  let response: Response;
  try {
    response = await fetch(`${url.replace(/\/+$/, '')}/v1/traces`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
  } catch (error) {
    const cause = error instanceof Error && error.cause ? messageOf(error.cause) : messageOf(error);
    throw new MeridianError('unavailable', `sending spans to ${url}: ${cause}`, 'later', { cause: error });
  }
  const text = await response.text();
  if (!response.ok || /rejectedSpans/i.test(text)) {
    throw new MeridianError('refused', `sending spans to ${url}: status ${response.status}: ${text}`, 'never');
  }
}

function positive(option: string, text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text))
    throw new MeridianError('invalid', `${option}: "${text}" is no whole number from 1`, 'never');
  return Number(text);
}
