// Draws one image with a tightfit server: progress, error details, retries, TLS and token.
//
//	go run . "red apple" apple.png
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	tightfit "tightfit/v1"
)

const maxAttempts = 4

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: generate PROMPT FILE.png")
		os.Exit(2)
	}
	// Ctrl-C cancels the call, and with it the work on the server.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	if err := run(ctx, os.Args[1], os.Args[2]); err != nil {
		explain(err)
		os.Exit(1)
	}
}

func run(ctx context.Context, prompt, file string) error {
	channel, err := connect()
	if err != nil {
		return err
	}
	defer channel.Close()
	client := tightfit.NewImageGenerationServiceClient(channel)
	if token := os.Getenv("TIGHTFIT_TOKEN"); token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	}
	parameters := &tightfit.ImageParameters{Prompt: prompt}
	if model := os.Getenv("TIGHTFIT_MODEL"); model != "" {
		parameters.Model = &model // absent: the only one that is configured
	}
	for attempt := 1; ; attempt++ {
		image, seed, begun, err := draw(ctx, client, parameters)
		if err == nil {
			fmt.Printf("%s: seed %d\n", file, seed)
			return os.WriteFile(file, image, 0o644)
		}
		// UNAVAILABLE is the only code to retry, and only before the first event.
		if status.Code(err) != codes.Unavailable || begun || attempt == maxAttempts {
			return err
		}
		select {
		case <-time.After(delayAfter(err, attempt)):
		case <-ctx.Done():
			return err
		}
	}
}

// connect uses TLS where TIGHTFIT_TLS_CA names the certificates that vouch for the server.
func connect() (*grpc.ClientConn, error) {
	server := os.Getenv("TIGHTFIT_SERVER")
	if server == "" {
		server = "127.0.0.1:50051"
	}
	authority := os.Getenv("TIGHTFIT_TLS_CA")
	if authority == "" {
		if os.Getenv("TIGHTFIT_TOKEN") != "" {
			return nil, errors.New("a token needs TIGHTFIT_TLS_CA: in plain text others could read it")
		}
		// Newer releases also have grpc.NewClient and insecure.NewCredentials for these two.
		return grpc.Dial(server, grpc.WithInsecure())
	}
	transport, err := credentials.NewClientTLSFromFile(authority, "")
	if err != nil {
		return nil, err
	}
	return grpc.Dial(server, grpc.WithTransportCredentials(transport))
}

// draw returns the image and its seed; begun tells whether any event came.
func draw(ctx context.Context, client tightfit.ImageGenerationServiceClient,
	parameters *tightfit.ImageParameters) (image []byte, seed int64, begun bool, err error) {
	stream, err := client.StreamImages(ctx, &tightfit.StreamImagesRequest{Parameters: parameters})
	if err != nil {
		return nil, 0, false, err
	}
	for {
		event, err := stream.Recv()
		if err == io.EOF {
			return image, seed, begun, nil
		}
		if err != nil {
			return nil, 0, begun, err
		}
		begun = true
		switch event := event.Event.(type) {
		case *tightfit.StreamImagesResponse_Queued:
			fmt.Fprintf(os.Stderr, "%d ahead in the queue\n", event.Queued.Position)
		case *tightfit.StreamImagesResponse_Started:
			seed = event.Started.Parameters.Seed
			for _, warning := range event.Started.Warnings {
				fmt.Fprintln(os.Stderr, "warning:", warning.Message)
			}
		case *tightfit.StreamImagesResponse_Progress:
			fmt.Fprintf(os.Stderr, "step %d of %d\n", event.Progress.Step, event.Progress.StepCount)
		case *tightfit.StreamImagesResponse_ImageChunk:
			image = append(image, event.ImageChunk.Content...) // pieces come in order
		}
	}
}

// delayAfter is what the server asks for, else 1, 2, 4 seconds.
func delayAfter(err error, attempt int) time.Duration {
	for _, detail := range status.Convert(err).Details() {
		if retry, ok := detail.(*errdetails.RetryInfo); ok {
			delay := retry.GetRetryDelay()
			return time.Duration(delay.GetSeconds())*time.Second + time.Duration(delay.GetNanos())
		}
	}
	return time.Second << (attempt - 1)
}

// explain prints code, reason and message, and every field that was refused.
func explain(err error) {
	failure, ok := status.FromError(err)
	if !ok {
		fmt.Fprintln(os.Stderr, "error:", err)
		return
	}
	reason := ""
	for _, detail := range failure.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			reason = " " + info.Reason
		}
	}
	fmt.Fprintf(os.Stderr, "error: %v%s: %s\n", failure.Code(), reason, failure.Message())
	for _, detail := range failure.Details() {
		if request, ok := detail.(*errdetails.BadRequest); ok {
			for _, field := range request.FieldViolations {
				fmt.Fprintf(os.Stderr, "  %s: %s\n", field.Field, field.Description)
			}
		}
	}
}
