package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"os"
	"strings"
	"sync"
	"time"
)

func client(options Options) {
	planned := read(options.Plan)
	roots := x509.NewCertPool()
	certificate, err := os.ReadFile(options.Certificate)
	fail(err)
	roots.AppendCertsFromPEM(certificate)
	transport := &http.Transport{
		TLSClientConfig:       &tls.Config{RootCAs: roots},
		DisableCompression:    true,
		DisableKeepAlives:     !options.Keep,
		ForceAttemptHTTP2:     options.Protocol == "h2",
		MaxIdleConnsPerHost:   options.Concurrency,
		ExpectContinueTimeout: 20 * time.Second,
	}
	if options.Protocol != "h2" {
		transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	}
	log := openLog(options.Log)
	fmt.Println("ready")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	var workers sync.WaitGroup
	for worker := 0; worker < options.Concurrency; worker++ {
		workers.Add(1)
		go func(worker int) {
			defer workers.Done()
			for at := worker; at < len(planned); at += options.Concurrency {
				call(transport, log, options.Base, planned[at])
			}
		}(worker)
	}
	workers.Wait()
	transport.CloseIdleConnections()
}

func read(name string) []Request {
	file, err := os.Open(name)
	fail(err)
	defer file.Close()
	var planned []Request
	for lines := json.NewDecoder(file); lines.More(); {
		var request Request
		fail(lines.Decode(&request))
		planned = append(planned, request)
	}
	return planned
}

// onlyReader hides how long a content is, so that it is sent in chunks.
type onlyReader struct{ io.Reader }

func call(transport *http.Transport, log *Log, base string, planned Request) {
	var body io.Reader
	if planned.Size > 0 {
		content := bytes.Repeat([]byte(planned.Unit), planned.Size/len(planned.Unit)+1)[:planned.Size]
		body = bytes.NewReader(content)
		if planned.Chunked {
			body = onlyReader{body}
		}
	}
	var connection httptrace.GotConnInfo
	traced := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
		GotConn: func(got httptrace.GotConnInfo) { connection = got },
	})
	request, err := http.NewRequestWithContext(traced, planned.Method, base+planned.Path, body)
	fail(err)
	for _, header := range planned.Headers {
		request.Header.Add(header[0], header[1])
	}
	if planned.Expect {
		request.Header.Set("Expect", "100-continue")
	}
	response, err := transport.RoundTrip(request)
	fail(err)
	local, remote := connection.Conn.LocalAddr(), connection.Conn.RemoteAddr()
	size, err := io.Copy(io.Discard, response.Body)
	fail(err)
	_ = response.Body.Close()
	log.write(Call{
		Role: "client", Method: planned.Method, Path: planned.Path, Status: response.StatusCode,
		RequestSize: int64(planned.Size), ResponseSize: size, Local: end(local), Remote: end(remote),
		Protocol: name(response.ProtoMajor), TLS: strings.HasPrefix(base, "https:"),
	})
}
