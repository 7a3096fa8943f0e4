import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { compiledModule } from '../../global/runtime/package-root.js';
import { COLLECTOR_NODE_FLAGS } from '../../regions/collector/node-flags.js';
import type { IngestCollectorReply, IngestCollectorRequest } from './ingest-collector.js';

/** A collector in a process of its own, to be measured. One question at a time. */
export interface IngestChild {
  /** Resolves with the reply, which is to be of that type; rejects when the process ends. */
  ask<T extends IngestCollectorReply['type']>(
    request: IngestCollectorRequest,
    type: T,
  ): Promise<Extract<IngestCollectorReply, { type: T }>>;
  /** Ends the process, however it is. */
  end(): Promise<void>;
}

/** `module`: one that answers `IngestCollectorRequest`, below the package's root without its suffix. */
export function forkIngestChild(module = 'scripts/bench/ingest-collector'): IngestChild {
  const child = fork(compiledModule(module), [], { stdio: 'inherit', execArgv: [...COLLECTOR_NODE_FLAGS] });
  return {
    ask: (request, type) => ask(child, request, type),
    end: async () => {
      if (child.connected) child.disconnect();
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill('SIGKILL');
      await once(child, 'exit');
    },
  };
}

function ask<T extends IngestCollectorReply['type']>(
  child: ChildProcess,
  request: IngestCollectorRequest,
  type: T,
): Promise<Extract<IngestCollectorReply, { type: T }>> {
  return new Promise((resolve, reject) => {
    const settle = (done: () => void) => {
      child.off('message', message);
      child.off('exit', ended);
      done();
    };
    const ended = () => settle(() => reject(new Error('the collector process of the benchmark ended')));
    const message = (reply: IngestCollectorReply) => {
      if (isReply(reply, type)) settle(() => resolve(reply));
      else settle(() => reject(new Error(`the collector process of the benchmark answered ${JSON.stringify(reply)}`)));
    };
    child.on('message', message);
    child.on('exit', ended);
    child.send(request);
  });
}

function isReply<T extends IngestCollectorReply['type']>(
  reply: IngestCollectorReply,
  type: T,
): reply is Extract<IngestCollectorReply, { type: T }> {
  return reply.type === type;
}
