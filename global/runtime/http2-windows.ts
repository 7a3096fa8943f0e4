import type { Http2Server, ServerOptions } from 'node:http2';
import type { Server } from '@grpc/grpc-js';
import { invariant } from './errors.js';

/** How much a peer may send before it is told to go on (RFC 9113, 5.2), bytes. */
export interface FlowControlWindows {
  readonly streamBytes: number;
  /** Of all streams of a connection together. */
  readonly connectionBytes: number;
}

/**
 * Before the server is bound: widens the windows in which clients send to it. With HTTP/2's 64 KiB for a whole connection a message of 200 KB comes in four
 * instalments, each with a round trip, and with many streams the sessions do little but exchange window updates: 2.5 instead of 6.3 µs of CPU a span for
 * OTLP/gRPC, and twice the throughput. grpc-js has an option for it for clients only (`grpc-node.flow_control_window`), so this reaches
 * into what 1.14 keeps for itself; a test asks a real connection for its windows.
 */
export function widenStreamWindow(server: Server, { streamBytes }: FlowControlWindows): void {
  const options: unknown = Reflect.get(server, 'commonServerOptions');
  invariant(isServerOptions(options), 'grpc-js keeps its HTTP/2 options in commonServerOptions');
  options.settings = { ...options.settings, initialWindowSize: streamBytes };
}

/** Once the server is bound: the same for each connection as it comes. */
export function widenConnectionWindow(server: Server, { connectionBytes }: FlowControlWindows): void {
  const bound: unknown = Reflect.get(server, 'http2Servers');
  invariant(bound instanceof Map && bound.size > 0, 'grpc-js keeps its HTTP/2 servers in http2Servers');
  for (const http2Server of bound.keys() as Iterable<Http2Server>) {
    http2Server.on('session', (session) => session.setLocalWindowSize(connectionBytes));
  }
}

function isServerOptions(options: unknown): options is ServerOptions {
  return typeof options === 'object' && options !== null && 'maxSessionMemory' in options;
}
