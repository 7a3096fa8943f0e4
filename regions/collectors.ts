import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import { join } from 'node:path';
import type { Registry } from 'prom-client';
import type { FleetRegion } from '../global/fleet/fleet.js';
import type { LogAppender } from '../global/log/span-log.js';
import { PATTERN_NAMES, type PatternName } from '../global/otlp/redact-text.js';
import { plaintext } from '../global/runtime/channel-security.js';
import type { Clock } from '../global/runtime/clock.js';
import type { ReachCrashPoint } from '../global/runtime/crash-points.js';
import { MeridianError } from '../global/runtime/errors.js';
import type { Logger } from '../global/runtime/logger.js';
import { readOptionFile } from '../global/runtime/secret-file.js';
import { type Collector, createCollector } from './collector/collector.js';
import type { RegionOptions } from './config/region-options.js';

/** Without a key of their own, masked values can be joined across this fleet but are no secret: for trying out. */
const TRYING_OUT_SECRET = Buffer.from('meridian trying out: configure redactSecretFile');

export interface CollectorSetup {
  readonly region: FleetRegion;
  readonly options: RegionOptions;
  readonly log: LogAppender;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly registry: Registry;
  readonly crash: ReachCrashPoint;
}

/** This process's collector, as the region's options say. Throws `configuration` where they make no sense. */
export function collectorOf({ region, options, ...shared }: CollectorSetup): Collector {
  const at = (port: number) => ({ host: options.host, port });
  return createCollector({
    region: region.region,
    collectorId: options.collectorId ?? `${hostname()}-${process.pid}`,
    partitionCount: region.partitions.spans,
    redaction: {
      dropKeys: options.redactDropKeys,
      maskKeys: options.redactMaskKeys,
      patterns: options.redactPatterns.map(patternName),
      maskSecret: options.redactSecretFile
        ? readOptionFile('redactSecretFile', options.redactSecretFile)
        : TRYING_OUT_SECRET,
    },
    listen: {
      otlpGrpc: at(options.otlpGrpcPort),
      otlpHttp: at(options.otlpHttpPort),
      zipkin: at(options.zipkinPort),
      jaegerThrift: at(options.jaegerThriftPort),
    },
    gatherMs: options.gatherMs,
    spoolDir: options.spoolDir ?? join(options.dataDir, 'spool'),
    spoolBytesMax: options.spoolBytesMax,
    spoolHangMs: options.spoolHangMs,
    corsOrigins: options.corsOrigins,
    drainMs: options.drainMs,
    security: plaintext,
    random32: () => randomBytes(4).readUInt32LE(0),
    ...shared,
  });
}

function patternName(text: string): PatternName {
  const known = PATTERN_NAMES.find((name) => name === text);
  if (known) return known;
  const names = PATTERN_NAMES.join(', ');
  throw new MeridianError('configuration', `redactPatterns: "${text}" is not one of ${names}`, 'never');
}
