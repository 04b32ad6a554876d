// Counts requests: each answer is the next number.
const http = require('http');
let count = 0;
const server = http.createServer((request, answer) => answer.end(`${++count}\n`));
server.keepAliveTimeout = 60000;
server.listen(parseInt(process.argv[2]));
