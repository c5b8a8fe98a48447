// Draws one image with a tightfit server: progress, error details, retries, TLS and token.
//
//   npm install && node generate.js "red apple" apple.png
'use strict';

const fs = require('fs');
const path = require('path');
const timers = require('timers/promises');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');
const protobuf = require('protobufjs');

const MAX_ATTEMPTS = 4;
const PROTOS = path.join(__dirname, '../../../proto');

// int64 comes as text: a seed may be larger than what a number holds exactly. `oneofs` gives
// `event.event`, the name of the field that is set.
// `arrays` gives an empty list for a repeated field without values.
const OPTIONS = {
  keepCase: true,
  longs: String,
  enums: String,
  arrays: true,
  oneofs: true,
  includeDirs: [PROTOS],
};
const definition = loader.loadSync('tightfit/v1/image_generation.proto', OPTIONS);
const {ImageGenerationService} = grpc.loadPackageDefinition(definition).tightfit.v1;

// What is read here of google/rpc/status.proto and google/rpc/error_details.proto.
const rpc = protobuf.parse(`
  syntax = "proto3";
  message Any { string type_url = 1; bytes value = 2; }
  message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
  message ErrorInfo { string reason = 1; string domain = 2; map<string, string> metadata = 3; }
  message Duration { int64 seconds = 1; int32 nanos = 2; }
  message RetryInfo { Duration retry_delay = 1; }
  message FieldViolation { string field = 1; string description = 2; }
  message BadRequest { repeated FieldViolation field_violations = 1; }
`, {keepCase: true}).root;

// The details of a failed call by the last part of their names: {ErrorInfo, BadRequest, RetryInfo}.
function detailsOf(error) {
  const found = {};
  const [status] = error.metadata ? error.metadata.get('grpc-status-details-bin') : [];
  if (status === undefined) return found;
  for (const any of rpc.lookupType('Status').decode(status).details) {
    const name = any.type_url.split('.').pop();
    if (!['ErrorInfo', 'BadRequest', 'RetryInfo'].includes(name)) continue;
    found[name] = rpc.lookupType(name).decode(any.value);
  }
  return found;
}

function connect() {
  const server = process.env.TIGHTFIT_SERVER || '127.0.0.1:50051';
  const authority = process.env.TIGHTFIT_TLS_CA;
  if (process.env.TIGHTFIT_TOKEN && !authority) {
    throw new Error('a token needs TIGHTFIT_TLS_CA: in plain text others could read it');
  }
  const credentials = authority
    ? grpc.credentials.createSsl(fs.readFileSync(authority))
    : grpc.credentials.createInsecure();
  return new ImageGenerationService(server, credentials);
}

// Resolves to {image, seed}; a failure tells in `begun` whether any event came.
function draw(client, parameters) {
  const metadata = new grpc.Metadata();
  const token = process.env.TIGHTFIT_TOKEN;
  if (token) metadata.set('authorization', `Bearer ${token}`);
  const deadline = Date.now() + 10 * 60 * 1000;
  const call = client.StreamImages({parameters}, metadata, {deadline});
  // Ctrl-C cancels the call, and with it the work on the server.
  const cancel = () => call.cancel();
  process.once('SIGINT', cancel);
  const pieces = [];
  let seed;
  let begun = false;
  return new Promise((resolve, reject) => {
    call.on('data', (message) => {
      begun = true;
      if (message.event === 'queued') {
        console.error(`${message.queued.position} ahead in the queue`);
      } else if (message.event === 'started') {
        seed = message.started.parameters.seed;
        for (const warning of message.started.warnings) {
          console.error('warning:', warning.message);
        }
      } else if (message.event === 'progress') {
        console.error(`step ${message.progress.step} of ${message.progress.step_count}`);
      } else if (message.event === 'image_chunk') {
        pieces.push(message.image_chunk.content); // pieces come in order
      }
    });
    call.on('error', (error) => reject(Object.assign(error, {begun})));
    call.on('end', () => resolve({image: Buffer.concat(pieces), seed}));
  }).finally(() => process.removeListener('SIGINT', cancel));
}

// What the server asks for, else 1, 2, 4 seconds.
function delayMsAfter(error, attempt) {
  const retry = detailsOf(error).RetryInfo;
  if (!retry || !retry.retry_delay) return 1000 * 2 ** (attempt - 1);
  return Number(retry.retry_delay.seconds) * 1000 + retry.retry_delay.nanos / 1e6;
}

async function run(prompt, file) {
  const client = connect();
  const parameters = {prompt};
  // Absent: the only model that is configured.
  if (process.env.TIGHTFIT_MODEL) parameters.model = process.env.TIGHTFIT_MODEL;
  try {
    for (let attempt = 1; ; attempt += 1) {
      try {
        const {image, seed} = await draw(client, parameters);
        fs.writeFileSync(file, image);
        console.log(`${file}: seed ${seed}`);
        return;
      } catch (error) {
        // UNAVAILABLE is the only code to retry, and only before the first event.
        const retry = error.code === grpc.status.UNAVAILABLE && !error.begun;
        if (!retry || attempt === MAX_ATTEMPTS) throw error;
        await timers.setTimeout(delayMsAfter(error, attempt));
      }
    }
  } finally {
    client.close();
  }
}

// Prints code, reason and message, and every field that was refused.
function explain(error) {
  if (typeof error.code !== 'number') {
    console.error('error:', error.message);
    return;
  }
  const {ErrorInfo: info, BadRequest: request} = detailsOf(error);
  const reason = info ? ` ${info.reason}` : '';
  console.error(`error: ${grpc.status[error.code]}${reason}: ${error.details}`);
  for (const field of request ? request.field_violations : []) {
    console.error(`  ${field.field}: ${field.description}`);
  }
}

if (process.argv.length !== 4) {
  console.error('usage: node generate.js PROMPT FILE.png');
  process.exitCode = 2;
} else {
  run(process.argv[2], process.argv[3]).catch((error) => {
    explain(error);
    process.exitCode = 1;
  });
}
